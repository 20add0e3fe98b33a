"""A waker that outlives its await is no leaf: only the await that a task is in now is confirmed."""

import pytest
from conftest import confirmed_places, differences, program, traced


@pytest.mark.parametrize("profile", ["release", "dev"])
@pytest.mark.parametrize("runtime", ["multi", "current"])
def test_only_the_true_leaf_is_confirmed(tmp_path, runtime, profile):
    with traced(program("cancelled", profile), runtime, segment_dir=tmp_path) as target:
        expected = target.leaves()
        assert sum(expected.values()) == 6
        found = confirmed_places(target.dump())
    assert not differences(expected, found)
