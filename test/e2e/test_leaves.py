"""Every place where a program is stuck is shown, at its line, and nothing else."""

import json

import pytest
from conftest import asynctrace, confirmed_places, differences, program, tasks, traced

BUILDS = [("release", "debian"), ("dev", "debian"), ("release", "second")]


@pytest.mark.parametrize("profile, toolchain", BUILDS)
@pytest.mark.parametrize("runtime", ["multi", "current"])
def test_all_leaves_and_no_others(tmp_path, runtime, profile, toolchain):
    path = program("leaves", profile, toolchain)
    with traced(path, runtime, segment_dir=tmp_path) as target:
        expected = target.leaves()
        assert len(expected) > 40 and "src/lib.rs" not in "".join(expected)
        dump = target.dump()
    found = confirmed_places(dump)
    assert not differences(expected, found)
    assert all(count == 0 for count in dump["lost"].values()), dump["lost"]


def waits(dump):
    """What must not change when the process dies: who waits where, through which frames."""
    names = [(frame["function"], frame["file"], frame["line"]) for frame in dump["frames"]]

    def frames(stack):
        return [] if stack is None else [names[index] for index in dump["stacks"][stack]]

    return {
        task["id"]: sorted((leaf["kind"], leaf["confirmed"], frames(leaf["stack"])) for leaf in task["leaves"])
        for task in tasks(dump)
    }


@pytest.mark.parametrize("runtime", ["multi", "current"])
def test_the_dump_of_the_dead_is_that_of_the_living(tmp_path, runtime):
    with traced(program("leaves"), runtime, segment_dir=tmp_path, by="preload") as target:
        living = target.dump()
        dead = json.loads(asynctrace("dump", "--format", "json", target.kill()).stdout)
    assert living["process"]["state"] == "running"
    assert dead["process"]["state"] in ("killed", "unknown")
    assert waits(living)
    assert waits(dead) == waits(living)


def test_async_std_leaves_and_no_task_that_has_ended(tmp_path):
    """async-task's executor: tasks that ended, or panicked through their poll, are gone."""
    with traced(program("leaves_async_std"), segment_dir=tmp_path) as target:
        expected = target.leaves()
        dump = target.dump()
    assert not differences(expected, confirmed_places(dump))
    alive = [task for task in dump["tasks"] if task["kind"] == "task"]
    assert len(alive) == sum(expected.values()) - 1, "each leaf has a task, but for block_on's own"
    assert {task["runtime"] for task in alive} == {"async-task"}
