"""What the benchmarks share: programs with and without the agent, interleaved pairs of runs, and figures."""

import contextlib
import dataclasses
import os
import pathlib
import statistics
import subprocess
import tempfile

PATIENCE = 300  # seconds until a program that should take seconds counts as hung


@dataclasses.dataclass
class Figure:
    """One line of the table. `result` is a ratio unless `result_unit` says what else it is. None: not measured; where
    that is the result, the name says why."""

    name: str
    without: float | None
    traced: float | None
    result: float | None
    goal: float | None = None  # at most
    result_unit: str = ""

    @property
    def met(self):
        return None if self.goal is None or self.result is None else self.result <= self.goal

    def as_json(self):
        return {**dataclasses.asdict(self), "met": self.met}


@dataclasses.dataclass
class Bench:
    build: pathlib.Path
    segments: pathlib.Path
    quick: bool

    @classmethod
    @contextlib.contextmanager
    def open(cls, build, quick):
        # Segments belong on tmpfs, which is where the agent puts them unless told.
        shared_memory = pathlib.Path("/dev/shm")
        directory = shared_memory if os.access(shared_memory, os.W_OK) else None
        with tempfile.TemporaryDirectory(prefix="asynctrace-bench-", dir=directory) as segments:
            yield cls(build, pathlib.Path(segments), quick)

    @property
    def cli(self):
        return self.build / "cli" / "asynctrace"

    def target(self, name):
        return self.build / "targets" / "debian" / "release" / name

    def environment(self, traced):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ASYNCTRACE_")}
        environment["ASYNCTRACE_DIR"] = str(self.segments)
        if traced:
            environment["LD_PRELOAD"] = str(self.build / "agent" / "libasynctrace-agent.so")
            environment["ASYNCTRACE_MAX_SIZE"] = str(1 << 30)  # sparse; for a million tasks
        return environment

    def start(self, command, traced):
        return subprocess.Popen(
            [str(word) for word in command],
            env=self.environment(traced),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def output(self, command, traced=False, segment=None):
        """What the program prints. `segment`: whether it leaves one, which without a word only a traced one does."""
        result = subprocess.run(
            [str(word) for word in command],
            env=self.environment(traced),
            stdout=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        self.remove_segments(traced if segment is None else segment)
        return result.stdout

    def remove_segments(self, expected):
        """Of programs that have ended. `expected`: whether there must be any, or none."""
        segments = list(self.segments.glob("*.atrace"))
        for segment in segments:
            segment.unlink()
        if bool(segments) != expected:
            raise RuntimeError("a segment that nobody asked for" if segments else "no segment: the agent traced nothing")


@contextlib.contextmanager
def waiters(bench, tasks, traced):
    """A program with that many tasks, all of them waiting."""
    program = bench.start([bench.target("waiters"), tasks, "multi"], traced)
    try:
        line = program.stdout.readline()
        if not line.startswith("READY"):
            raise RuntimeError(f"waiters said {line!r}")
        yield program
    finally:
        program.stdin.close()
        program.wait(PATIENCE)
        program.stdout.close()
        bench.remove_segments(expected=traced)


def interleaved(count, *measures):
    """Runs the measures in turn, `count` times, and returns a list of results for each. Whatever else the machine
    does then falls on all of them; every other round runs backwards, so that none is always first."""
    results = [[] for _ in measures]
    for turn in range(count):
        order = range(len(measures)) if turn % 2 == 0 else reversed(range(len(measures)))
        for index in order:
            results[index].append(measures[index]())
    return results


def ratio(name, without, traced, goal=None):
    """From the results of interleaved pairs: the median of their ratios."""
    ratios = [b / a for a, b in zip(without, traced)]
    return Figure(name, statistics.median(without), statistics.median(traced), statistics.median(ratios), goal)


def value_of(output, word):
    """The number in the line that begins with `word`."""
    for line in output.splitlines():
        first, _, rest = line.partition(" ")
        if first == word:
            return float(rest)
    raise ValueError(f"no {word} in {output!r}")
