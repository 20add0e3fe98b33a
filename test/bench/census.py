"""The search for tasks in another process's memory."""

import statistics

from measure import Figure, value_of


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
