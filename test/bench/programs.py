"""Whole programs with and without the agent."""

import os
import pathlib
import statistics
import subprocess
import tempfile
import time

from measure import PATIENCE, Figure, interleaved, ratio, value_of


def pingpong(bench):
    rounds = 200_000 if bench.quick else 1_000_000
    pairs = 5 if bench.quick else 15
    for runtime in ("current", "multi"):

        def run(traced):
            output = bench.output([bench.target("pingpong"), rounds, runtime], traced)
            return value_of(output, "NS_PER_ROUND")

        results = interleaved(pairs, lambda: run(False), lambda: run(True))
        yield ratio(f"channel ping-pong, {runtime}, ns a round", *results, goal=1.25)


def echo(bench):
    connections = 16
    requests = 2000 if bench.quick else 10_000
    pairs = 5 if bench.quick else 11

    def run(traced):
        server = bench.start([bench.target("echo"), "serve", connections], traced)
        port = int(value_of(server.stdout.readline(), "PORT"))
        at_start = cpu_ns(server.pid)
        load = [bench.target("echo"), "load", port, connections, requests]
        subprocess.run([str(word) for word in load], env=bench.environment(False), timeout=PATIENCE, check=True)
        output = server.communicate(timeout=PATIENCE)[0]
        bench.remove_segments(expected=traced)
        served = value_of(output, "REQUESTS")
        return value_of(output, "CPU_NS_PER_REQUEST") - at_start / served

    results = interleaved(pairs, lambda: run(False), lambda: run(True))
    yield ratio("TCP echo, server's CPU ns a request", *results, goal=1.03)


def cpu_ns(pid):
    """CPU time of a process's threads so far."""
    threads = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)


def start(bench):
    """A process in which there is nothing to trace, as `run -- make test` starts them by the hundred."""
    pairs = 50 if bench.quick else 200

    def run(traced):
        environment = bench.environment(traced)
        began = time.perf_counter()
        _, status = os.waitpid(os.posix_spawn("/bin/true", ["/bin/true"], environment), 0)
        elapsed = time.perf_counter() - began
        if status != 0:
            raise RuntimeError(f"/bin/true ended with {status}")
        return elapsed * 1000

    without, traced = interleaved(pairs, lambda: run(False), lambda: run(True))
    bench.remove_segments(expected=False)
    extra = statistics.median(b - a for a, b in zip(without, traced))
    yield Figure(
        "start of /bin/true, ms", statistics.median(without), statistics.median(traced), extra, 5, " ms"
    )


def build(bench):
    """A small build under `asynctrace run`, as CI starts it: nothing in it is traced."""
    pairs = 5 if bench.quick else 15
    with tempfile.TemporaryDirectory(prefix="asynctrace-bench-") as directory:
        makefile = pathlib.Path(directory) / "Makefile"
        # Each step is a shell, gcc, the compiler and the assembler, with some work to do.
        makefile.write_text(
            ".PHONY: all\nall: $(addprefix step,$(shell seq 50))\n"
            "step%:\n\t@printf '#include <stdio.h>\\nint f$*;' | gcc -O2 -xc -c -o /dev/null -\n"
        )
        make = ["make", "-j2", "-s", "-C", directory]

        def run(traced):
            command = [str(bench.cli), "run", "-q", "--", *make] if traced else make
            began = time.perf_counter()
            subprocess.run(command, env=bench.environment(False), timeout=PATIENCE, check=True)
            return time.perf_counter() - began

        results = interleaved(pairs, lambda: run(False), lambda: run(True))
        bench.remove_segments(expected=False)
        yield ratio("make -j2 of 200 processes under run, s", *results, goal=1.05)
