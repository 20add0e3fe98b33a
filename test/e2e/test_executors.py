"""Executors other than tokio's: whoever polls a task, each place where it waits is shown, and nothing else."""

import subprocess
from collections import Counter

import pytest
from conftest import confirmed_places, differences, program, tasks, traced
from processes import environment, run

# None of its runtimes is known, so that its tasks have nothing but their wakers.
UNKNOWN = ["local_pool", "thread_pool", "block_on", "own_table", "arc_wake"]


@pytest.mark.parametrize("executor", UNKNOWN)
def test_leaves_of_an_executor_that_is_not_known(tmp_path, executor):
    with traced(program("executors"), executor, segment_dir=tmp_path) as target:
        expected = target.leaves()
        dump = target.dump()
    assert sum(expected.values()) >= 49
    assert not differences(expected, confirmed_places(dump))
    assert [runtime["name"] for runtime in dump["runtimes"]] == ["other"]
    assert not dump["suspects"]
    assert [diagnostic["code"] for diagnostic in dump["diagnostics"]] == ["wakers_alone"]
    for task in tasks(dump):
        assert not task["observed"] and not task["stuck"] and task["state"] == "waiting"
        for leaf in task["leaves"]:
            assert leaf["reason"] is not None, "what is known by a waker alone says so"


def places_of_all(dump):
    """Blocking closures too: they wait for futures here."""
    return confirmed_places({**dump, "tasks": [{**task, "kind": "task"} for task in dump["tasks"]]})


def leaves_at(dump, text):
    """Kinds and reasons of the leaves whose stack passes a function of this name."""
    found = Counter()
    for task in dump["tasks"]:
        for leaf in task["leaves"]:
            names = [dump["frames"][frame]["function"] for frame in dump["stacks"][leaf["stack"]]]
            if leaf["confirmed"] and any(name.endswith(text) for name in names):
                found[leaf["kind"], leaf["reason"]] += 1
    return found


def test_executors_inside_executors(tmp_path):
    with traced(program("nested"), "tokio", segment_dir=tmp_path) as target:
        expected = target.leaves()
        dump = target.dump()
    assert sum(expected.values()) == 18
    assert not differences(expected, places_of_all(dump))
    assert not dump["suspects"], "hidden children are no evidence"
    assert leaves_at(dump, "nested::unordered") == {("FuturesUnordered", "children not observable"): 1}
    assert {runtime["name"] for runtime in dump["runtimes"]} == {"tokio", "other"}


def test_smol(tmp_path):
    with traced(program("nested"), "smol", segment_dir=tmp_path) as target:
        expected = target.leaves()
        dump = target.dump()
    assert sum(expected.values()) == 3
    assert not differences(expected, confirmed_places(dump))
    assert len([task for task in dump["tasks"] if task["kind"] == "task"]) == 2
    assert [runtime["name"] for runtime in dump["runtimes"]] == ["async-task"]


@pytest.mark.parametrize("runtime", ["multi", "current"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_tasks_that_panic_or_are_cancelled_are_gone(tmp_path, when, runtime):
    with traced(program("ended"), runtime, when, segment_dir=tmp_path) as target:
        expected = target.leaves()
        alive = int(target.words("TASKS")[0])
        dump = target.dump()
    assert not differences(expected, confirmed_places(dump))
    assert len([task for task in dump["tasks"] if task["kind"] == "task"]) == alive
    # The one without a waker; none whose waker was forgotten.
    assert [task["leaves"] for task in dump["tasks"] if task["stuck"]] == [[]]
    assert [suspect["kind"] for suspect in dump["suspects"]] == ["no_waker"]


def test_two_versions_of_tokio(tmp_path, quick):
    if quick:
        pytest.skip("--quick does not build a second tokio")
    with traced(program("two_tokios"), segment_dir=tmp_path) as target:
        expected = target.leaves()
        dump = target.dump()
    assert sum(expected.values()) == 8
    assert not differences(expected, confirmed_places(dump))
    alive = [task for task in dump["tasks"] if task["kind"] == "task"]
    assert len(alive) == 8, "those that were aborted are gone, though somebody holds their handles"
    joins = [leaf["waits_for"] for task in alive for leaf in task["leaves"] if leaf["kind"] == "JoinHandle"]
    assert len(joins) == 2 and all(joins)
    assert not dump["suspects"] and not dump["diagnostics"]


def test_rust_without_wakers_leaves_no_file(tmp_path):
    source, directory = tmp_path / "plain.rs", tmp_path / "segments"
    source.write_text('fn main() { println!("{}", std::thread::spawn(|| 7).join().unwrap()) }')
    subprocess.run(["/usr/bin/rustc", "-O", "-o", tmp_path / "plain", source], check=True)
    directory.mkdir(mode=0o700)
    assert run([tmp_path / "plain"], environment(directory)).stdout == "7\n"
    assert not list(directory.iterdir())
