"""Crates that wake the waker they replace are not driven into polling for ever."""

import subprocess

import pytest
from conftest import PATIENCE, asynctrace, program

MOST_EXTRA_POLLS = 2
MOST_TURNS_OF_A_LOOP = 40
# The programs wait 300 ms of their time. One that spins burns them all; the agent's start takes some.
MOST_EXTRA_CPU_US = 100_000


def numbers(output):
    return {word: int(rest) for word, rest in (line.split() for line in output.splitlines())}


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
    without = numbers(subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout)
    segment = tmp_path / "kept.atrace"
    with_agent = numbers(asynctrace("run", "-q", "-o", segment, "--", *command).stdout)
    assert segment.exists(), "the agent was not there"
    assert without["POLLS"] >= 2
    assert with_agent["POLLS"] <= without["POLLS"] + most_extra_polls
    assert with_agent["CPU_US"] <= without["CPU_US"] + MOST_EXTRA_CPU_US
