"""Core files: the tasks of the process that left one, and its threads with what they were polling."""

import json
import shutil
import signal
import subprocess

import pytest
import test_schema
from conftest import PATIENCE, asynctrace, lacking, program, settled, tasks, traced, user_place
from json_documents import from_lines
from running import env  # noqa: F401 (a fixture)
from test_census import block_ons, leaves, own_tasks, types
from test_crash import all_cores, cores, hangs  # noqa: F401 (cores is a fixture)


def dump_of(core, *options):
    dump = json.loads(asynctrace("dump", "--format", "json", core, *options).stdout)
    test_schema.check(dump)
    return dump


def frames(dump, stack):
    return [dump["frames"][index]["function"] for index in dump["stacks"][stack]]


def test_gcore_of_a_healthy_process(tmp_path, quick):
    if quick:
        pytest.skip("--quick leaves out what takes seconds")
    if shutil.which("gcore") is None:
        lacking("gcore is not installed")
    with traced(program("leaves", "dev"), "multi", segment_dir=tmp_path, by="nobody") as target:
        live = settled(target)
        command = ["gcore", "-o", tmp_path / "core", str(target.pid)]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
        threads = {thread["tid"] for thread in live["threads"]}
    core = tmp_path / f"core.{target.pid}"
    dump = dump_of(core)
    text = asynctrace("dump", core).stdout
    (lines,) = from_lines(asynctrace("dump", "--format", "jsonl", core).stdout)
    assert dump["source"] == "census" and dump["reason"] == "post-mortem" and dump["crash"] is None
    assert dump["process"]["pid"] == target.pid and dump["process"]["state"] == "unknown"
    assert dump["process"]["exe"] == live["process"]["exe"]
    assert types(dump) == types(live)
    assert leaves(dump) == leaves(live) and block_ons(dump) == block_ons(live) != {}
    assert {thread["tid"] for thread in dump["threads"]} == threads
    assert all(thread["stack"] is not None for thread in dump["threads"])
    # One closure blocks; the target says in which line it does.
    (blocking,) = [task for task in dump["tasks"] if task["kind"] == "blocking"]
    (thread,) = [thread for thread in dump["threads"] if thread["task"] == blocking["id"]]
    assert any("leaves::tasks::blocking" in function for function in frames(dump, thread["stack"]))
    assert f"thread tid {thread['tid']} in task {blocking['id']}\n" in text
    assert lines["stacks"] and {task["id"] for task in lines["tasks"]} == {task["id"] for task in dump["tasks"]}


@pytest.mark.parametrize("flavor", ["multi", "current"])
def test_the_core_of_a_crash(env, cores, tmp_path, flavor):  # noqa: F811
    crashed = hangs("abort_in_task", env, by="nobody", limit=all_cores, flavor=flavor)
    assert crashed.status == -signal.SIGABRT
    (core,) = [path for path in tmp_path.rglob(cores) if path.is_file()]
    dump = dump_of(core)
    text = asynctrace("dump", core).stdout
    crash = dump["crash"]
    assert crash["signal"] == "SIGABRT" and crash["in_poll_ns"] is None
    assert user_place(dump, crash["stack"]) == crashed.place()
    (task,) = [task for task in own_tasks(dump) if task["state"] == "running"]
    assert task["id"] == crash["task"] and "abort_in_task" in task["type"]
    assert task["running_stack"] == crash["stack"]
    assert f"crashed: SIGABRT in task {task['id']} on thread tid {crash['tid']}\n" in text
    moved = tmp_path / "moved"
    shutil.copy(program("hangs"), moved)
    assert types(dump_of(core, "--exe", moved)) == types(dump)


def test_a_core_that_was_cut_short(env, cores, tmp_path):  # noqa: F811
    hangs("abort_in_task", env, by="nobody", limit=all_cores)
    (core,) = [path for path in tmp_path.rglob(cores) if path.is_file()]
    whole = core.read_bytes()
    for size in (64, 4096, len(whole) // 2):
        core.write_bytes(whole[:size])
        result = asynctrace("dump", core, check=False)
        assert result.returncode == (0 if "the core file was cut short" in result.stdout else 1)
        assert result.returncode == 0 or f"asynctrace: {core}: " in result.stderr
