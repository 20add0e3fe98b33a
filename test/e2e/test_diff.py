"""Two dumps of one program: what has changed, and which tasks have not moved."""

import json
import os
import signal
import subprocess

import jsonschema
import pytest
from conftest import CLI, PATIENCE, ROOT, asynctrace, program, traced
from json_documents import documents
from pty_session import wait_until
from running import env, run, silent_stdin  # noqa: F401 (env is a fixture)

SCHEMA = json.loads((ROOT / "test" / "schema" / "asynctrace.diff-1.schema.json").read_text())


def diff(target, *arguments, check=True):
    return asynctrace("diff", *arguments, env=target.env, check=check)


def diff_json(target, *arguments):
    found = json.loads(diff(target, "--format", "json", *arguments).stdout)
    jsonschema.Draft7Validator(SCHEMA).validate(found)
    return found


def test_golden_is_valid():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    golden = ROOT / "test" / "unit" / "golden" / "diff" / "shop.json"
    jsonschema.Draft7Validator(SCHEMA).validate(json.loads(golden.read_text()))


def test_tasks_that_wait_have_not_moved(tmp_path):
    """500 tasks on a Notify and 500 in a sleep stand still; the ticker beside them does not."""
    (tmp_path / "segments").mkdir(mode=0o700)
    before = tmp_path / "before.json"
    with traced(program("waiters"), 1000, segment_dir=tmp_path / "segments") as target:
        before.write_text(asynctrace("dump", "--format", "json", target.pid, env=target.env).stdout)
        ticker = next(task for task in json.loads(before.read_text())["tasks"]
                      if "tick" in (task["type"] or "") and task["kind"] == "task")
        wait_until(lambda: next(task["polls"] for task in target.dump()["tasks"] if task["id"] == ticker["id"])
                   > ticker["polls"], "the ticker is polled")
        found = diff_json(target, before, target.pid)
        text = diff(target, before, target.pid).stdout
        segment = target.kill()
        from_segments = diff_json(target, before, segment)
    for each in (found, from_segments):
        assert each["same_process"] and each["between_ns"] > 0
        unmoved = {id for trace in each["both"] for id in trace["unmoved"]}
        assert len(unmoved) >= 1001 and ticker["id"] not in unmoved
        still = [trace for trace in each["both"] if len(trace["unmoved"]) == 500]
        assert [trace["trace"][-1].split("╼ ")[-1] for trace in still] == ["Notify", "sleep"]
        assert each["gone"] == []
    assert text.startswith("A  waiters pid ") and "\n500 tasks  not moved in " in text


def test_traces_of_two_programs(tmp_path):
    (tmp_path / "a").mkdir(mode=0o700)
    (tmp_path / "b").mkdir(mode=0o700)
    segments = []
    for directory, scenario in (("a", "never_sent"), ("b", "join_cycle")):
        with traced(program("hangs"), scenario, "multi", segment_dir=tmp_path / directory) as target:
            wait_until(lambda: all(task["state"] == "waiting" for task in target.dump()["tasks"] if task["kind"] == "task"),
                       "all wait")
            segments.append(target.kill())
    found = diff_json(target, *segments)
    assert not found["same_process"]
    assert all(trace["unmoved"] is None for trace in found["new"] + found["gone"] + found["both"])
    lines = {key: "\n".join(line for trace in found[key] for line in trace["trace"]) for key in ("new", "gone")}
    assert "hangs::receive" in lines["gone"] and "hangs::join_what_comes" in lines["new"]
    assert "another process: tasks are not compared" in diff(target, *segments).stdout


def test_successive_dumps_of_a_run_mark_what_has_not_moved(env, tmp_path):
    dumps = tmp_path / "dumps"
    with subprocess.Popen([CLI, "run", "--dump-every", "100ms", "--format=json", "--dump-file", dumps, program("waiters"), "10"],
                          env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        wait_until(lambda: dumps.exists() and len(documents(dumps.read_text())) >= 2, "two dumps")
        process.communicate("", timeout=PATIENCE)
    first, second = documents(dumps.read_text())[:2]
    assert first["since_earlier_ns"] is None and all(task["unmoved"] is None for task in first["tasks"])
    assert second["since_earlier_ns"] >= 100e6
    polls = {task["id"]: task["polls"] for task in first["tasks"]}
    for task in second["tasks"]:
        assert task["unmoved"] == (polls.get(task["id"]) == task["polls"]), task
    assert sum(task["unmoved"] for task in second["tasks"]) >= 8
    for group in second["groups"]:
        unmoved = {task["id"] for task in second["tasks"] if task["unmoved"]}
        assert group["unmoved"] == len(unmoved.intersection(group["tasks"]))
    both = json.loads(asynctrace("diff", "--format", "json", f"{dumps}#1", f"{dumps}#2").stdout)
    assert len({id for trace in both["both"] for id in trace["unmoved"]}) >= 8
    several = asynctrace("diff", dumps, dumps, check=False)
    assert several.returncode == 1 and f"remedy: name one of them: {dumps}#1" in several.stderr


def test_the_quit_key_marks_it_in_the_text(env):
    with subprocess.Popen([CLI, "run", program("waiters"), "10"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("READY ")
        seen = []
        for _ in range(2):
            os.kill(process.pid, signal.SIGQUIT)
            for line in process.stderr:
                seen.append(line)
                if line.startswith("OUTSIDE"):
                    break
        process.communicate("", timeout=PATIENCE)
    heads = [line for line in seen if line.startswith("5 tasks  ")]
    assert "not moved" not in heads[0]
    assert ", not moved in " in heads[-1]


@pytest.mark.parametrize("arguments, code", [([], 2), (["x"], 2), (["x", "y", "z"], 2), (["/dev/null", "/dev/null"], 1),
                                             (["/no/file", "/no/file"], 1), (["--format", "xml", "a", "b"], 2)])
def test_errors_have_remedies(arguments, code):
    result = asynctrace("diff", *arguments, check=False)
    assert result.returncode == code and result.stderr.startswith("asynctrace: ")
