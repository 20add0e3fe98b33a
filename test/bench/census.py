"""The search for tasks in another process's memory."""

import contextlib
import statistics

from dump import run_dump
from measure import PATIENCE, Figure, value_of

LARGE_GIB, SPARE_GIB = 4, 2


def census(bench):
    command = [bench.build / "test" / "bench" / "census_bench", 1024]
    copied, scanned = [], []
    for _ in range(3 if bench.quick else 9):
        output = bench.output(command, segment=False)
        copied.append(value_of(output, "COPIED_MS"))
        scanned.append(value_of(output, "SCANNED_MS"))
    # 1.5 GB a second.
    goal = 1024 * 1.048576 / 1.5
    without, traced = statistics.median(copied), statistics.median(scanned)
    yield Figure("census: 1 GiB copied alone, and searched, ms", without, traced, traced, round(goal), " ms")
    yield from census_of_coroutines(bench)


def census_of_coroutines(bench):
    """A process of 4 GiB, all of them in use, with some thousand suspended coroutines and the remains of more."""
    name = f"census: coroutines in {LARGE_GIB} GiB, s"
    free = available_gib()
    if free < LARGE_GIB + SPARE_GIB:
        yield Figure(f"{name}: {free:.0f} GiB are free, {LARGE_GIB + SPARE_GIB} are needed", None, None, None)
        return
    with large_program(bench) as program:
        seconds = [run_dump(bench, program.pid, "text")[0] for _ in range(1 if bench.quick else 5)]
    yield Figure(name, None, None, statistics.median(seconds), 3, " s")


def available_gib():
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable:")) / (1 << 20)


@contextlib.contextmanager
def large_program(bench):
    churn = bench.build / "test" / "bench" / "coroutine_churn"
    program = bench.start([churn, 20_000, 4_000, LARGE_GIB << 10], traced=False)
    try:
        if not any(line.startswith("READY") for line in iter(program.stdout.readline, "")):
            raise RuntimeError("churn ended before it was ready")
        yield program
    finally:
        program.stdin.close()
        program.wait(PATIENCE)
        program.stdout.close()
