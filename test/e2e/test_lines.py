"""No dump of a program at full speed, alive or killed at any moment, shows a task where it can never be."""

import json
import re
import time

import pytest
from conftest import asynctrace, program, tasks, traced, user_place


def lanes(target):
    """lane -> the only place where its tasks may wait."""
    rows = (row.split() for row in target.words("TASKLINE"))
    return {lane: f"src/bin/lines.rs:{line}" for _, line, lane in rows}


def check(dump, allowed, count):
    """Returns the lanes that were seen waiting."""
    seen = set()
    found = [task for task in tasks(dump) if task["kind"] == "task" and "lane_" in (task["type"] or "")]
    assert len(found) == count
    for task in found:
        lane = re.search(r"lane_\d+", task["type"])[0]
        for leaf in task["leaves"]:
            place = user_place(dump, leaf["stack"])
            assert place == allowed[lane], f"task {task['id']} of {lane} at {place}: {leaf}"
            seen.add(lane)
    return seen


@pytest.mark.parametrize("runtime", ["multi", "current"])
def test_dumps_at_full_speed(tmp_path, quick, runtime):
    count, dumps = 2000, 10 if quick else 500
    with traced(program("lines"), count, runtime, segment_dir=tmp_path) as target:
        allowed = lanes(target)
        assert len(allowed) == len(set(allowed.values())) == 64
        seen = set()
        for _ in range(dumps):
            seen |= check(target.dump(), allowed, count)
        assert len(seen) >= 32, "one of each pair waits at any time"
        target.kill()


def test_killed_at_any_moment(tmp_path, quick):
    count = 200
    for attempt in range(5 if quick else 200):
        directory = tmp_path / str(attempt)
        directory.mkdir()
        with traced(program("lines"), count, "multi", segment_dir=directory, by="preload") as target:
            allowed = lanes(target)
            # Moves the kill through the program's cycle; nothing depends on how long this takes.
            until = time.monotonic() + attempt % 20 * 0.0005
            while time.monotonic() < until:
                pass
            segment = target.kill()
        dump = json.loads(asynctrace("dump", "--format", "json", segment).stdout)
        assert check(dump, allowed, count), "nothing waited"
