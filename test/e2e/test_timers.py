"""Timers of poll loops: by when they are due, and which are late."""

import json
import re
import time

import pytest
from conftest import BUILD, asynctrace, traced
from test_loops import LIBRARIES
from test_schema import check


def started(library, tmp_path, **how):
    return traced(BUILD / "test" / "targets" / "loops" / f"{library}_timers", segment_dir=tmp_path, **how)


def dues(target):
    """callback: between which times of CLOCK_MONOTONIC it is due."""
    return {name: (int(low), int(high)) for name, low, high in (rest.split() for rest in target.words("DUE"))}


def leaves(dump):
    """callback: its watcher's one leaf; without the one that runs."""
    return {task["type"]: task["leaves"][0] for task in dump["tasks"] if task["leaves"] and task["kind"] == "task"}


@pytest.mark.parametrize("library", LIBRARIES)
def test_by_when_timers_are_due(tmp_path, library, quick):
    if quick and library != "libevent":
        pytest.skip("takes a second for each library")
    with started(library, tmp_path) as target:
        before = time.monotonic_ns()
        dump = target.dump()
        after = time.monotonic_ns()
        text = asynctrace("dump", target.pid, env=target.env).stdout
    check(dump)
    assert {rest.rsplit(" ", 1)[1] for rest in target.words("CHECK")} <= {"yes"}
    truth = dues(target)
    found = {name: leaf["due_ns"] for name, leaf in leaves(dump).items() if "due_ns" in leaf}
    assert found.keys() == truth.keys()
    for name, (low, high) in truth.items():
        assert low - after <= found[name] <= high - before, (name, found[name], low - after, high - before)
    late = {name for name, (_, high) in truth.items() if high < before}
    assert "on_late" in late and late == {name for name, due in found.items() if due < 0}
    for name, leaf in leaves(dump).items():
        resource = leaf["resource"] or ""
        wanted = "overdue by" if name in late else "due in" if name in truth else ""
        assert wanted in resource and ("due" in resource) == bool(wanted), (name, resource)
        assert f"calls {name}  " in text or not wanted
    assert re.match(r"timer, overdue by [\d.]+m?s$", leaves(dump)["on_late"]["resource"])
    assert re.match(r"timer, due in (59m|1h|1m)", leaves(dump)["on_hour"]["resource"])
    assert re.search(r"timer, calls on_hour  due in (59m\d\ds|1h00m)$", text, re.MULTILINE)
    if library == "libevent":
        assert re.match(r"pipe, read end, due in (59m|1h)", leaves(dump)["on_read_or_hour"]["resource"])
        assert re.search(r"read, calls on_read_or_hour  fd \d+: pipe, read end, due in", text)

    suspects = [suspect for suspect in dump["suspects"] if suspect["kind"] == "ready_not_served"]
    type_of = {task["id"]: task["type"] for task in dump["tasks"]}
    assert {type_of[task] for suspect in suspects for task in suspect["tasks"]} == late
    (evidence,) = [suspect["evidence"] for suspect in suspects if type_of[suspect["tasks"][0]] == "on_late"]
    assert re.fullmatch(r"it has been due for \d[\d.]*s and on_late was not called; seen at \d+ looks, "
                        rf"while thread {target.pid} is in one call of on_block", evidence)
    assert re.search(r"^\d+\. task \d+: it has been due for ", text, re.MULTILINE)


def test_of_the_dead(tmp_path):
    """As of its death, where that was seen."""
    with started("libevent", tmp_path) as target:
        before = time.monotonic_ns()
        segment = target.kill()
        after = time.monotonic_ns()
        dump = json.loads(asynctrace("dump", "--format", "json", segment).stdout)
    low, high = dues(target)["on_hour"]
    assert low - after <= leaves(dump)["on_hour"]["due_ns"] <= high - before
    assert leaves(dump)["on_late"]["resource"].startswith("timer, overdue by ") and dump["suspects"] == []


def test_of_the_dead_that_nobody_saw_die(tmp_path):
    with started("libevent", tmp_path, by="preload") as target:
        segment = target.kill()
        dump = json.loads(asynctrace("dump", "--format", "json", segment).stdout)
    assert not any("due_ns" in leaf for leaf in leaves(dump).values())
