"""Dumps of programs with many waiting tasks: what they take, and what the program notices."""

import os
import statistics
import subprocess
import time

from measure import Figure, ratio, value_of, waiters


def dump(bench):
    dumps, repetitions = (5, 1) if bench.quick else (20, 5)
    for tasks in (1000, 10_000, 100_000):
        largest = tasks == 100_000
        with waiters(bench, tasks, traced=True) as program:
            runs = [run_beside_ticker(bench, program) for _ in range(dumps * repetitions)]
            as_json = [run_dump(bench, program.pid, "json")[0] for _ in range(3 if largest else 0)]
        seconds, megabytes, idle_gaps, dump_gaps = zip(*runs)
        name = f"dump of {tasks:,} tasks"
        yield Figure(f"{name}, s", None, None, statistics.median(seconds), 1 if largest else None, " s")
        if as_json:
            yield Figure(f"{name} as JSON, s", None, None, statistics.median(as_json), None, " s")
        yield Figure(f"{name}, CLI's peak memory, MB", None, None, max(megabytes), 300 if largest else None, " MB")
        longest = [[max(gaps[i : i + dumps]) for i in range(0, len(gaps), dumps)] for gaps in (idle_gaps, dump_gaps)]
        yield ratio(f"{name}, ticker's longest gap, ms", *longest, goal=2)
    if not bench.quick:
        yield from dump_of_a_million(bench)


def dump_of_a_million(bench):
    with waiters(bench, 1_000_000, traced=True) as program:
        for form, goal in (("text", None), ("json", 8)):
            seconds, megabytes = zip(*(run_dump(bench, program.pid, form) for _ in range(3)))
            name = f"dump of 1,000,000 tasks as {form}"
            yield Figure(f"{name}, s", None, None, statistics.median(seconds), goal, " s")
            yield Figure(f"{name}, CLI's memory, MB", None, None, max(megabytes), 300, " MB")


def run_beside_ticker(bench, program):
    """A dump, then as long without one: seconds, megabytes, the longest gaps in ms without and with."""
    longest_gap(program)
    seconds, megabytes = run_dump(bench, program.pid, "text")
    dumping = longest_gap(program)
    time.sleep(seconds)
    return seconds, megabytes, longest_gap(program), dumping


def longest_gap(program):
    """The ticker's, in ms, since the last call."""
    program.stdin.write("\n")
    program.stdin.flush()
    return value_of(program.stdout.readline(), "LONGEST_GAP_US") / 1000


def run_dump(bench, pid, form):
    """Seconds and peak memory in MB. Peak memory is never below this program's own: the kernel carries that of the
    process image before exec on."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [bench.cli, "dump", "--format", form, str(pid)], env=bench.environment(False), stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    elapsed = time.perf_counter() - began
    if process.returncode != 0:
        raise RuntimeError(f"dump ended with {process.returncode}")
    return elapsed, usage.ru_maxrss * 1024 / 1e6
