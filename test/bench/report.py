"""From the time-out of a run to the end of its reports, with no symbols cached, as on a fresh machine."""

import os
import statistics
import subprocess
import tempfile
import time

from measure import PATIENCE, Figure


def report(bench):
    seconds = [run_into_time_out(bench, 10_000) for _ in range(3 if bench.quick else 10)]
    yield Figure("time-out to end of 10,000 tasks' reports, s", None, None, statistics.median(seconds), 2, " s")


def run_into_time_out(bench, tasks):
    """Seconds from when the time-out was due to the last write of the last report. The start of `run` itself is
    part of it."""
    time_out = 4.0
    with tempfile.TemporaryDirectory() as directory:
        reports = [f"{form}={directory}/report.{form}" for form in ("text", "json", "markdown", "github", "junit")]
        flags = [word for report in reports for word in ("--report", report)]
        began = time.time()
        process = subprocess.Popen(
            [bench.cli, "run", f"--timeout={time_out}s", "--no-cache", *flags, bench.target("waiters"), str(tasks), "multi"],
            env=bench.environment(False), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )
        with process.stdin, process.stdout:
            in_time = process.stdout.readline().startswith("READY") and time.time() - began < time_out
            process.wait(PATIENCE)
        if not in_time or process.returncode != 124:
            raise RuntimeError(f"not all tasks waited before the time-out, or run ended with {process.returncode}")
        bench.remove_segments(expected=True)
        with open(f"{directory}/report.json") as dump:
            if dump.read().count('"leaves":[{') < tasks:
                raise RuntimeError("the report does not hold all tasks")
        return os.stat(f"{directory}/report.junit").st_mtime - began - time_out
