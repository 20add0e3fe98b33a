"""The reference runtimes of test/targets/native."""

import json
import os
import re
import subprocess
import time

import pytest
from conftest import BUILD, PATIENCE, ROOT, asynctrace, traced
from sanitized_agents import sanitized_agent
from test_schema import check

STARTUP = 0.3  # seconds that the command itself may take on a busy machine
LOAD = "NativeWorkers.NothingIsLostInDumpsUnderLoad"


def native(name):
    path = BUILD / "test" / "targets" / "native" / name
    assert path.exists(), f"{path} is not built"
    return path


def test_dumps_under_load_for_long(tmp_path, quick):
    """The program and the agent under the thread sanitizer. The same test runs for a second in the unit tests."""
    if quick:
        pytest.skip("30 s, left out by --quick")
    results = tmp_path / "results.json"
    env = {**os.environ, "LD_PRELOAD": str(sanitized_agent("thread")), "ASYNCTRACE_OUTPUT": str(tmp_path / "load.atrace"),
           "ASYNCTRACE_TEST_SECONDS": "30"}
    program = BUILD / "test" / "unit" / "native_workers_test_sanitized"
    subprocess.run([program, f"--gtest_filter={LOAD}", f"--gtest_output=json:{results}"], env=env, check=True,
                   capture_output=True, timeout=PATIENCE)
    case = json.loads(results.read_text())["testsuites"][0]["testsuite"][0]
    assert int(case["dumps"]) > 1000 and int(case["tasks"]) > 10_000


def lines(dump, leaf):
    frames = [dump["frames"][index] for index in dump["stacks"][leaf["stack"]]]
    return [frame["line"] for frame in frames if (frame["file"] or "").endswith("/runtimes.cpp")]


def repoll_once(target):
    return json.loads(asynctrace("dump", "--repoll", "--format", "json", target.pid, env=target.env).stdout)


def repoll(target):
    """Of a runtime that is not blocked: on a busy machine it may come too late, and then nothing was polled."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        dump = repoll_once(target)
        if dump["repoll"]["silent_runtimes"] == 0 and dump["repoll"]["missing_workers"] == 0:
            return dump
    pytest.fail("not one answer is complete")


def expected_leaves(target):
    for rest in target.words("LEAF"):
        name, kind, *places = rest.split(" ")
        yield name, kind.replace("-", " ").strip(), [int(place) for place in places]


@pytest.mark.parametrize("runtime", ["single", "multi"])
def test_repoll_asks_a_runtime_that_sleeps(tmp_path, runtime):
    with traced(native("runtimes"), runtime, segment_dir=tmp_path) as target:
        before, dump, after = target.dump(), repoll(target), target.dump()
        text = asynctrace("dump", "--repoll", target.pid, env=target.env).stdout
    assert target.process.returncode == 0
    check(dump)
    polled = {task["name"]: task for task in dump["tasks"]}
    assert dump["repoll"] == {"tasks": len(polled), "runtimes": 1, "silent_runtimes": 0, "workers": 0,
                              "missing_workers": 0}
    assert "repoll" not in before and "repoll" not in after
    for name, kind, places in expected_leaves(target):
        [leaf] = polled[name]["leaves"]
        assert leaf["source"] == "repoll" and leaf["confirmed"], name
        assert lines(dump, leaf) == places, name
        if kind == "":
            assert leaf["kind"] == "native::Leaf::poll()" and leaf["class"] == "unknown"
            continue
        assert leaf["kind"] == kind and leaf["waiting_ns"] > 0 and leaf["reason"] is None
    for other in (before, after):
        unpolled = {task["name"]: task for task in other["tasks"]}
        assert unpolled["quiet"]["leaves"] == [], "it has told of nothing"
        assert all("source" not in leaf for task in other["tasks"] for leaf in task["leaves"])
    polls = {task["name"]: task["polls"] for task in before["tasks"]}
    for task in after["tasks"]:
        assert task["polls"] == polls[task["name"]] + 2, "one on request, one by its deferred waker"
    assert "shop::quiet()" in text


def test_every_runtime_of_a_process_answers(tmp_path):
    with traced(native("runtimes"), "both", segment_dir=tmp_path) as target:
        dump = repoll(target)
    assert dump["repoll"]["runtimes"] == 2 and dump["repoll"]["silent_runtimes"] == 0
    assert dump["repoll"]["tasks"] == len(dump["tasks"]) == 9
    assert sorted(known["name"] for known in dump["runtimes"]) == ["multi_thread", "single_thread"]
    assert all(leaf["source"] == "repoll" for task in dump["tasks"] for leaf in task["leaves"])


def timed_repoll(target):
    start = time.monotonic()
    dump = repoll_once(target)
    return time.monotonic() - start, dump


def test_a_runtime_that_is_blocked_as_a_whole_does_not_answer(tmp_path):
    with traced(native("runtimes"), "single", "blocked", segment_dir=tmp_path) as target:
        timed = [timed_repoll(target) for _ in range(3)]
    assert target.process.returncode == 0
    assert min(seconds for seconds, _ in timed) < 0.5 + STARTUP
    for _, dump in timed:
        assert dump["repoll"] == {"tasks": 0, "runtimes": 1, "silent_runtimes": 1, "workers": 0, "missing_workers": 0}
        assert [row["code"] for row in dump["diagnostics"]] == ["repoll_unanswered"]
        waiting = [task["name"] for task in dump["tasks"] if task["state"] == "waiting"]
        assert {"first", "second", "third", "clerk", "quiet"} <= set(waiting), "by their records"


def test_a_blocked_worker_stops_no_dump(tmp_path):
    with traced(native("runtimes"), "multi", "blocked", segment_dir=tmp_path) as target:
        timed = [timed_repoll(target) for _ in range(3)]
    assert min(seconds for seconds, _ in timed) < 0.5
    for _, each in timed:
        tasks = {task["name"]: task for task in each["tasks"]}
        assert each["repoll"] == {"tasks": 0, "runtimes": 1, "silent_runtimes": 0, "workers": 2, "missing_workers": 1}
        assert [row["code"] for row in each["diagnostics"]] == ["repoll_incomplete"]
        assert tasks["starter"]["state"] == "running"
        for name, kind, _ in expected_leaves(target):
            assert [leaf["kind"] for leaf in tasks[name]["leaves"]] == ([kind] if kind else []), "by its record"
            assert all("source" not in leaf for leaf in tasks[name]["leaves"])


def header_offset(field):
    text = (ROOT / "common" / "segment.hpp").read_text()
    return int(re.search(rf"offsetof\(Header, {field}\) == (\d+)", text)[1])


class Words:
    """The words of the segment by which a dump asks: see segment::Repoll."""

    OFFSET = header_offset("repoll")
    LEAVES = header_offset("sections") + 5 * 24

    def __init__(self, path):
        self.file = os.open(path, os.O_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.file)

    def read(self, offset):
        return int.from_bytes(os.pread(self.file, 4, offset), "little")

    def ask(self):
        """Seconds until the first runtime has answered."""
        number = self.read(self.OFFSET) + 1
        start = time.monotonic()
        os.pwrite(self.file, number.to_bytes(4, "little"), self.OFFSET)
        while self.read(self.OFFSET + 8 + 8) != number:
            assert time.monotonic() < start + PATIENCE
        taken = time.monotonic() - start
        os.pwrite(self.file, number.to_bytes(4, "little"), self.OFFSET + 4)
        return taken

    def damage(self):
        before = os.pread(self.file, 200, self.OFFSET)
        for byte in (0xff, 0x00, 0x01, 0x80):
            os.pwrite(self.file, bytes([byte]) * len(before), self.OFFSET)
        os.pwrite(self.file, before, self.OFFSET)

    def leaf_records(self):
        return self.read(self.LEAVES + 16)


@pytest.mark.parametrize("runtime", ["single", "multi"])
def test_a_runtime_that_sleeps_answers_at_once_and_keeps_nothing(tmp_path, runtime):
    with traced(native("runtimes"), runtime, segment_dir=tmp_path) as target, Words(target.segment()) as words:
        assert min(words.ask() for _ in range(5)) < 0.1
        taken = words.leaf_records()
        for _ in range(200):
            words.ask()
        assert words.leaf_records() < taken + 200, "workers keep a few dozen free ones, answers would take 1000"
        lost = target.dump()["lost"]
    assert set(lost.values()) == {0}


@pytest.mark.parametrize("runtime", ["single", "multi"])
def test_whatever_stands_in_the_segment(tmp_path, runtime):
    with traced(native("runtimes"), runtime, segment_dir=tmp_path) as target, Words(target.segment()) as words:
        for _ in range(20):
            words.damage()
            words.ask()
        assert repoll(target)["repoll"]["tasks"] >= 6
    assert target.process.returncode == 0


def refused(target, **options):
    result = asynctrace("dump", "--repoll", target, check=False, **options)
    assert result.returncode == 1 and not result.stdout
    return result.stderr


def test_what_cannot_be_polled_is_refused(tmp_path):
    with traced(native("callbacks"), segment_dir=tmp_path) as target:
        said = refused(target.pid, env=target.env)
        segment = target.kill()
    assert "no runtime in it polls its tasks on request" in said and "leave --repoll out" in said
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as cat:
        said_of_cat = refused(cat.pid)
    assert "not traced" in said_of_cat and "leave --repoll out" in said_of_cat
    said = refused(segment)
    assert "its process does not run" in said and "leave --repoll out" in said


def test_a_forked_child_does_not_answer_for_its_parent(tmp_path):
    """Nor is it asked: the child's copy of the runtime does not run."""
    with traced(native("runtimes"), "forked", segment_dir=tmp_path) as target:
        child = int(target.words("CHILD")[0])
        said = refused(child, env=target.env)
        names = [task["name"] for task in json.loads(
            asynctrace("dump", "--format", "json", child, env=target.env).stdout)["tasks"]]
        dump = repoll(target)
    assert "no runtime in it polls its tasks on request" in said
    assert dump["repoll"]["tasks"] == len(dump["tasks"]) and dump["repoll"]["silent_runtimes"] == 0
    assert set(names) >= {"first", "second", "third", "clerk", "quiet"}
