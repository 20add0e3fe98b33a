"""Who holds the lock that a task waits for, told by the guards in the tasks' memory; and where nobody is named."""

import time
from collections import Counter

import pytest
from attaching import running
from conftest import PATIENCE, asynctrace, program, settled, tasks, traced, user_place

LOCKS = ("Mutex lock", "RwLock read", "RwLock write", "Semaphore acquire")
# Scenario and how many tasks wait for each other in a circle.
DEADLOCKS = [("mutex_deadlock", 2), ("three_mutexes", 3), ("rwlock_deadlock", 2)]
UNSURE = {
    "dropped_guard": "holder unsure: the future of a block_on may hold it",
    "semaphores": "holder unsure: a semaphore does not tell how many permits it had",
}


def lock_leaves(dump):
    return {task["id"]: leaf for task in tasks(dump) for leaf in task["leaves"] if leaf["kind"] in LOCKS}


def holders(dump):
    return {task: (leaf["waits_for"] or {}).get("task") for task, leaf in lock_leaves(dump).items()}


def reasons(dump):
    return {leaf["reason"] for leaf in lock_leaves(dump).values()}


def deadlocks(dump):
    return [sorted(suspect["tasks"]) for suspect in dump["suspects"] if suspect["kind"] == "deadlock"]


def locked_places(leaves):
    """The truth: how many tasks wait for a lock in each line."""
    return Counter(line.split(" ", 1)[0].split("/")[-1] for line in leaves if line.endswith(LOCKS))


def assert_deadlock(dump, size, truth):
    held_by = holders(dump)
    assert len(held_by) == size and reasons(dump) == {None}
    seen, task = set(), min(held_by)
    while task not in seen:
        seen.add(task)
        task = held_by[task]
    assert seen == set(held_by), held_by
    assert deadlocks(dump) == [sorted(held_by)]
    places = Counter(user_place(dump, leaf["stack"]).split("/")[-1] for leaf in lock_leaves(dump).values())
    assert places == truth


DEADLOCKED = [("multi", "debian"), ("current", "debian"), ("multi", "second")]


@pytest.mark.parametrize("scenario, size", DEADLOCKS)
@pytest.mark.parametrize("runtime, toolchain", DEADLOCKED)
def test_a_deadlock_is_named_with_its_holders(tmp_path, scenario, size, runtime, toolchain):
    with traced(program("hangs", "dev", toolchain), scenario, runtime, segment_dir=tmp_path) as target:
        dump = settled(target)
        text = asynctrace("dump", target.pid, env=target.env).stdout
        truth = locked_places(target.words("LEAF"))
        segment = target.kill()
    assert_deadlock(dump, size, truth)
    suspects = text[text.index("SUSPECTS") :]
    for holder in holders(dump).values():
        assert f", held by task {holder}" in suspects, text
    # The memory that told it is gone.
    after = asynctrace("dump", "--format", "json", segment, env=target.env).stdout
    assert "holder unknown: the process is gone" in after and '"deadlock"' not in after


def at_rest(target):
    """A dump in a moment in which no thread runs: another might hold a lock."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        dump = settled(target)
        if not any("running" in (reason or "") for reason in reasons(dump)):
            return dump
    pytest.fail("some thread never stops running")


@pytest.mark.parametrize("scenario, size", DEADLOCKS)
@pytest.mark.parametrize("runtime, toolchain", DEADLOCKED)
def test_the_census_alone_names_them(tmp_path, scenario, size, runtime, toolchain):
    """The future of the block_on, which could hold a lock too, lies on a thread's stack."""
    with traced(program("hangs", "dev", toolchain), scenario, runtime, segment_dir=tmp_path, by="nobody") as target:
        dump = at_rest(target)
        truth = locked_places(target.words("LEAF"))
    assert_deadlock(dump, size, truth)
    assert [task["kind"] for task in tasks(dump)].count("block_on") == 1


@pytest.mark.parametrize("runtime", ["multi", "current"])
def test_an_agent_that_came_late_leaves_them_to_the_census(tmp_path, runtime):
    with running([program("hangs", "dev"), "mutex_deadlock", runtime], tmp_path) as target:
        lines, _ = target.until("READY")
        target.attach()
        dump = at_rest(target)
        target.end()
    assert dump["source"] == "both" and not any(task["observed"] for task in tasks(dump))
    assert_deadlock(dump, 2, locked_places(line for _, line in lines))
    assert [task["kind"] for task in tasks(dump)].count("block_on") == 1


def test_the_census_knows_what_a_block_on_keeps(tmp_path):
    """Beside the guard that it holds there is one that another task has dropped: that one is not taken for it."""
    with traced(program("hangs", "dev"), "dropped_guard", "multi", segment_dir=tmp_path, by="nobody") as target:
        dump = at_rest(target)
    assert reasons(dump) == {None, "holder unsure: guards and missing permits do not agree"}
    assert sorted(holder is None for holder in holders(dump).values()) == [False, True] and not dump["suspects"]


@pytest.mark.parametrize("scenario", ["mutex_deadlock", "rwlock_deadlock"])
def test_without_types_nobody_is_named(tmp_path, scenario):
    with traced(program("hangs"), scenario, "multi", segment_dir=tmp_path) as target:
        dump = settled(target)
    assert set(holders(dump).values()) == {None}
    assert reasons(dump) == {"holder unknown: needs full debug info"}
    assert not dump["suspects"]
    (diagnostic,) = [entry for entry in dump["diagnostics"] if entry["code"] == "holder_unknown"]
    assert diagnostic["remedy"] == "CARGO_PROFILE_RELEASE_DEBUG=2 cargo build --release"


@pytest.mark.parametrize("scenario", UNSURE)
def test_a_guess_is_no_claim(tmp_path, scenario):
    """A guard that was dropped leaves its bytes behind; of a semaphore others may hold more permits."""
    with traced(program("hangs", "dev"), scenario, "multi", segment_dir=tmp_path) as target:
        dump = settled(target)
    assert len(holders(dump)) == 2 and set(holders(dump).values()) == {None}
    assert reasons(dump) == {UNSURE[scenario]}
    assert not dump["suspects"]


def test_a_holder_that_will_go_on_is_no_suspect(tmp_path):
    with traced(program("hangs", "dev"), "healthy_lock", "multi", segment_dir=tmp_path) as target:
        dump = settled(target)
    (sleeper,) = [task["id"] for task in tasks(dump) if task["leaves"][0]["kind"] == "sleep"]
    assert list(holders(dump).values()) == [sleeper]
    assert not dump["suspects"]
