"""What a running program notices of `asynctrace attach`: one of its threads is held."""

import re
import statistics
import subprocess
import tempfile

from measure import Figure, waiters


def attach(bench):
    first, again = zip(*(hold_times(bench) for _ in range(5 if bench.quick else 21)))
    yield Figure("attach, a thread is held, ms", None, None, statistics.median(first), 5, " ms")
    yield Figure("attach once more, a thread is held, ms", None, None, statistics.median(again), None, " ms")


def hold_times(bench):
    """Of the first attach, which loads the agent, and of one after a detach."""
    with waiters(bench, 10, traced=False) as program, tempfile.TemporaryDirectory(dir=bench.segments) as directory:
        environment = {**bench.environment(False), "ASYNCTRACE_DIR": directory}
        times = [held(bench, verb, program.pid, environment) for verb in ("attach", "detach", "attach")]
        return times[0], times[2]


def held(bench, verb, pid, environment):
    done = subprocess.run([bench.cli, verb, str(pid)], env=environment, capture_output=True, text=True, check=True)
    return float(re.search(r"was held for ([0-9.]+) ms", done.stderr)[1])
