"""Crates that wake the waker they replace are not driven into polling for ever."""

import subprocess

import pytest
from conftest import PATIENCE, asynctrace, program

MOST_EXTRA_POLLS = 2
MOST_TURNS_OF_A_LOOP = 40


def polls(output):
    """Of the task that waits: each wake of it leads to one, so that a loop cannot hide."""
    word, count = output.split()
    assert word == "POLLS"
    return int(count)


@pytest.mark.parametrize("name, arguments", [
    ("polls_hyper", ["multi"]), ("polls_hyper", ["current"]),
    ("polls_async_std", ["tokio", "multi"]), ("polls_async_std", ["tokio", "current"]),
    ("polls_async_std", ["async-std"]),
])
def test_no_more_than_two_extra_polls(tmp_path, name, arguments):
    compare(tmp_path, [program(name), *arguments], MOST_EXTRA_POLLS)


def test_where_polls_are_not_seen_a_loop_ends_soon(tmp_path):
    """Whether a waker is woken inside its task's poll is not known there, so that only many in a row tell."""
    compare(tmp_path, [program("polls_async_std"), "futures"], MOST_TURNS_OF_A_LOOP)


def compare(tmp_path, command, most_extra_polls):
    without = polls(subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout)
    segment = tmp_path / "kept.atrace"
    with_agent = polls(asynctrace("run", "-q", "-o", segment, "--", *command).stdout)
    assert segment.exists(), "the agent was not there"
    assert without >= 2
    assert with_agent <= without + most_extra_polls
