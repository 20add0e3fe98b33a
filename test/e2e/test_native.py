"""Programs that tell of their tasks through asynctrace.h."""

import subprocess

import pytest
from conftest import BUILD, PATIENCE, asynctrace, traced

BUILDS = ["callbacks", "callbacks_no_pie", "callbacks_stripped", "callbacks_apart"]
NAMES = ["reader", None, "a name that is longer than the recor...", "restarted", "woken"]


def native(name):
    path = BUILD / "test" / "targets" / "native" / name
    assert path.exists(), f"{path} is not built"
    return path


def position(dump, index):
    frame = dump["frames"][index]
    return f"{(frame['file'] or '?').rsplit('/', 1)[-1]}:{frame['line']}"


def user_frames(dump, stack):
    return [index for index in dump["stacks"][stack] if dump["frames"][index]["class"] == "user"]


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("by", ["run", "preload"])
def test_tasks_and_leaves_however_the_program_is_linked(tmp_path, build, by):
    with traced(native(build), segment_dir=tmp_path, by=by) as target:
        expected = [rest.split(" ", 1) for rest in target.words("LEAF")]
        spawn = target.words("SPAWN")[0]
        dump = target.dump()
        text = asynctrace("dump", target.pid, env=target.env).stdout
    assert dump["runtimes"] == [{"name": "callbacks", "version": None, "tasks": 5, "workers": 0}]
    tasks = dump["tasks"]
    assert [task["name"] for task in tasks] == NAMES
    assert [task["runtime"] for task in tasks] == ["callbacks"] * 5
    assert [task["polls"] for task in tasks] == [1, 1, 1, 2, 1]
    assert [len(task["leaves"]) for task in tasks] == [1] * 5
    leaves = [task["leaves"][0] for task in tasks]
    assert sorted(leaf["kind"] for leaf in leaves) == sorted(kind for _, kind in expected)
    assert [leaf["class"] for leaf in leaves] == ["io", "timer", "join", "sync", "sync"]
    assert [leaf["waits_for"] for leaf in leaves] == [None, None, {"task": tasks[1]["id"]}, None, None]
    assert all(leaf["confirmed"] and leaf["reason"] is None for leaf in leaves)
    assert all(count == 0 for count in dump["lost"].values())
    assert 'task 1 "reader"' in text and "OUTSIDE  2 tasks" in text
    if build == "callbacks_stripped":
        return
    found = {leaf["kind"]: position(dump, user_frames(dump, leaf["stack"])[-2]) for leaf in leaves}
    assert found == {kind: place for place, kind in expected}
    assert position(dump, dump["stacks"][tasks[3]["spawn_stack"]][-1]) == spawn
    reader = [dump["frames"][index]["function"] for index in user_frames(dump, leaves[0]["stack"])]
    assert reader == ["reader", "read_line", "wait_for"], "strictly between the leaf and the poll"


def test_states_and_who_woke_whom(tmp_path):
    with traced(native("callbacks"), "wakes", segment_dir=tmp_path) as target:
        tasks = {task["name"]: task for task in target.dump()["tasks"]}
    assert tasks["reader"]["state"] == "scheduled" and tasks["reader"]["wakes"] == 1
    assert tasks["reader"]["woken_by"] == {"task": tasks["woken"]["id"]}
    assert tasks["restarted"]["state"] == "waiting" and tasks["restarted"]["wakes"] == 1
    assert tasks["restarted"]["woken_by"] is None, "it was woken from outside any poll"
    assert tasks["woken"]["state"] == "scheduled", "woken by itself during its poll"
    assert tasks["woken"]["woken_by"] == {"task": tasks["woken"]["id"]}


@pytest.mark.parametrize("build", BUILDS)
def test_without_an_agent_it_runs_as_if_nothing_were_there(build):
    result = subprocess.run([native(build)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0 and result.stdout.count("LEAF") == 5


LOADER = """
import ctypes, os, sys
library = ctypes.CDLL(sys.argv[1])
task = ctypes.create_string_buffer(256)
poll = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda task: library.wait_for(b"late leaf", 4, None))
library.spawn(task, b"late", poll)
library.run(task)
print("READY", os.getpid(), flush=True)
sys.stdin.read()
"""


def test_a_runtime_in_a_library_that_is_loaded_later(tmp_path):
    library = native("libcallbacks.so")
    with traced("/usr/bin/python3", "-c", LOADER, library, segment_dir=tmp_path) as target:
        dump = target.dump()
    assert [(task["name"], task["runtime"]) for task in dump["tasks"]] == [("late", "callbacks")]
    assert [leaf["kind"] for leaf in dump["tasks"][0]["leaves"]] == ["late leaf"]
