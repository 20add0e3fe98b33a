"""Processes without the agent: their tasks, found in memory, are those that the program itself knows of."""

import json
import shutil
import subprocess
import time
from collections import Counter

import pytest
from conftest import PATIENCE, asynctrace, differences, program, settled, tasks, traced, user_place
from test_builds import BUILDS, built, objcopy
from test_schema import check

UNKNOWN_WITHOUT_AGENT = ("created_ns", "in_state_ns", "polls", "wakes", "busy_ns", "max_poll_ns")


def own_tasks(dump):
    return [task for task in tasks(dump) if task["kind"] == "task"]


def types(dump):
    return Counter((task["runtime"], task["type"], task["stuck"]) for task in own_tasks(dump))


def both_ways(path, *arguments, segment_dir):
    """Dumps of the same program, with the agent and without."""
    dumps = []
    for by in ("run", "nobody"):
        with traced(path, *arguments, segment_dir=segment_dir, by=by) as target:
            dumps.append(settled(target))
    return dumps


@pytest.mark.parametrize("name, arguments", [("leaves", ["multi"]), ("leaves", ["current"]), ("leaves_async_std", [])])
def test_every_task_without_the_agent(tmp_path, name, arguments):
    seen, found = both_ways(program(name), *arguments, segment_dir=tmp_path)
    check(found)
    assert found["source"] == "census" and seen["source"] == "agent"
    assert types(found) == types(seen)
    assert all(not task["observed"] and task["state"] == "waiting" for task in own_tasks(found))
    for task in found["tasks"]:
        assert [task[key] for key in UNKNOWN_WITHOUT_AGENT] == [None] * 6, "what nobody saw is unknown, not 0"
    codes = {diagnostic["code"] for diagnostic in found["diagnostics"]}
    assert {"census", "census_no_types"} <= codes


def leaves(dump):
    """Where and for what: a line inside a macro, or inside a future without an async body, only the agent can tell."""
    types = {task["id"]: task["type"] for task in dump["tasks"]}
    found = Counter()
    for task in own_tasks(dump):
        for leaf in task["leaves"]:
            if not leaf["confirmed"]:
                continue
            place = user_place(dump, leaf["stack"])
            if any(shape in task["type"] for shape in ("join", "select", "hand_written", "poll_function")):
                place = "inside " + task["type"]
            kind = "any" if "poll_function" in task["type"] else leaf["kind"]
            found[place, kind, types.get((leaf["waits_for"] or {}).get("task"))] += 1
    return found


def block_ons(dump):
    """Where a thread's own future waits; what only waits for the executor's work is folded."""
    return Counter(
        (task["runtime"], user_place(dump, leaf["stack"]), leaf["kind"])
        for task in tasks(dump) for leaf in task["leaves"] if task["kind"] == "block_on" and leaf["confirmed"]
    )


@pytest.mark.parametrize("name, runtime, toolchain, count", [
    ("leaves", "multi", "debian", 56), ("leaves", "current", "debian", 56), ("leaves", "multi", "second", 56),
    ("leaves_async_std", "threads", "debian", 7), ("nested", "smol", "debian", 2),
])
def test_with_full_debug_info_every_leaf(tmp_path, name, runtime, toolchain, count):
    seen, found = both_ways(program(name, "dev", toolchain), runtime, segment_dir=tmp_path)
    check(found)
    assert types(found) == types(seen)
    assert sum(leaves(found).values()) >= count
    assert not differences(leaves(seen), leaves(found))
    assert block_ons(seen) and block_ons(found) == block_ons(seen)
    codes = {diagnostic["code"] for diagnostic in found["diagnostics"]}
    assert "census" in codes and "census_no_types" not in codes
    for task in own_tasks(found):
        assert all(leaf["waiting_ns"] is None and leaf["source"] == "census" for leaf in task["leaves"])


@pytest.mark.parametrize("path", BUILDS)
def test_every_build_shows_every_task(tmp_path, quick, path):
    seen, found = both_ways(built(path, quick), "multi", segment_dir=tmp_path)
    assert types(found) == types(seen)


@pytest.mark.parametrize("how", ["static-pie", "static"])
def test_a_static_program(tmp_path, how, quick):
    """The agent cannot enter it; its tasks are those of the same program with libraries."""
    with traced(built("linked/release", quick), "multi", segment_dir=tmp_path) as target:
        seen = settled(target)
    with traced(built(f"linked/release/{how}", quick), "multi", segment_dir=tmp_path, by="nobody") as target:
        found = settled(target)
    assert types(found) == types(seen)


def test_debug_files_elsewhere(tmp_path, quick):
    """A stripped program: the given directory has its names and types."""
    if quick:
        pytest.skip("--quick leaves out what takes seconds")
    whole, stripped, directory = program("leaves", "dev"), tmp_path / "leaves", tmp_path / "debug"
    directory.mkdir()
    objcopy("--only-keep-debug", whole, directory / "leaves.debug")
    objcopy("--strip-all", whole, stripped)
    with traced(whole, "multi", segment_dir=tmp_path, by="nobody") as target:
        expected = settled(target)
    with traced(stripped, "multi", segment_dir=tmp_path, by="nobody") as target:
        without = asynctrace("dump", target.pid, check=False)
        text = asynctrace("dump", "--debug-dir", directory, "--format", "json", target.pid).stdout
    assert without.returncode == 1 and "no async runtime" in without.stderr and "--debug-dir" in without.stderr
    found = json.loads(text)
    assert types(found) == types(expected) and leaves(found) == leaves(expected)


def test_the_program_as_a_sysroot_has_it(tmp_path):
    """Stripped where it runs, whole below the given root; what is another program there is not taken."""
    whole, stripped, root = program("ended"), tmp_path / "ended", tmp_path / "root"
    below = root / stripped.relative_to("/")
    below.parent.mkdir(parents=True)
    objcopy("--strip-all", whole, stripped)
    with traced(stripped, "multi", "before", segment_dir=tmp_path, by="nobody") as target:
        shutil.copy(program("leaves"), below)
        wrong = asynctrace("dump", "--sysroot", root, target.pid, check=False)
        shutil.copy(whole, below)
        found = json.loads(asynctrace("dump", "--sysroot", root, "--format", "json", target.pid).stdout)
        alive = int(target.words("TASKS")[0])
    assert wrong.returncode == 1 and "no async runtime" in wrong.stderr
    assert len(own_tasks(found)) == alive


@pytest.mark.parametrize("runtime", ["multi", "current"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_tasks_that_ended_are_not_found(tmp_path, when, runtime):
    """What they leave in freed memory still has the address of their table."""
    with traced(program("ended"), runtime, when, segment_dir=tmp_path, by="nobody") as target:
        alive = int(target.words("TASKS")[0])
        dump = settled(target)
        text = asynctrace("dump", target.pid).stdout
    assert len(own_tasks(dump)) == alive
    numbers = [task["native_id"] for task in own_tasks(dump)]
    assert numbers == sorted(set(numbers)), "each has tokio's own number"
    assert [suspect["kind"] for suspect in dump["suspects"]] == ["no_waker"]
    assert "census, without the agent" in text.splitlines()[0]
    assert "nothing can wake it (its waker was dropped)\n" in text and "0.0s" not in text and "0.0ms" not in text


def test_an_executor_that_is_not_known(tmp_path):
    with traced(program("executors"), "arc_wake", segment_dir=tmp_path, by="nobody") as target:
        result = asynctrace("dump", target.pid, check=False)
    assert result.returncode == 1 and result.stdout == ""
    assert f"process {target.pid} (executors)" in result.stderr and "no async runtime" in result.stderr


def test_export_and_diff_take_a_census(tmp_path):
    with traced(program("ended"), "multi", "before", segment_dir=tmp_path, by="nobody") as target:
        dump = json.loads(asynctrace("export", "--format", "json", target.pid).stdout)
        difference = asynctrace("diff", target.pid, target.pid).stdout
        packed = asynctrace("pack", target.pid, "-o", tmp_path / "packed", check=False)
    assert dump["source"] == "census"
    assert "leaf unknown" in difference
    assert packed.returncode == 1 and "nothing to pack" in packed.stderr


def test_tasks_that_never_stand_still(quick):
    """They are looked at again; what still moved is marked, and none is lost."""
    if quick:
        pytest.skip("--quick leaves out what takes seconds")
    command = [program("pingpong"), "1000000000", "multi"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while asynctrace("dump", process.pid, check=False).returncode != 0 and time.monotonic() < deadline:
            pass
        counts = set()
        for _ in range(10):
            dump = json.loads(asynctrace("dump", "--format", "json", process.pid).stdout)
            check(dump)
            counts.add(len(own_tasks(dump)))
    finally:
        process.kill()
        process.wait(PATIENCE)
    assert len(counts - {0}) == 1, counts
