"""Memory of a program with many waiting tasks, the segment included, for it counts against the same cgroup."""

import pathlib

from measure import Figure, waiters


def memory(bench):
    for tasks in (100_000,) if bench.quick else (100_000, 1_000_000):
        without, traced = (resident(bench, tasks, is_traced) / tasks for is_traced in (False, True))
        yield Figure(f"memory of one of {tasks:,} tasks, bytes", without, traced, traced - without, 160, " B")


def resident(bench, tasks, traced):
    with waiters(bench, tasks, traced) as program:
        for line in pathlib.Path(f"/proc/{program.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("no Rss in smaps_rollup")
