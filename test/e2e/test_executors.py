"""Executors other than tokio's: whoever polls a task, each place where it waits is shown, and nothing else."""

import pytest
from conftest import confirmed_places, differences, program, tasks, traced

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
