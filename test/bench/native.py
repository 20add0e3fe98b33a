"""Nanoseconds of trace_leaf() of the native API beside an empty function: without an agent, with one that is idle, in a capture."""

from measure import interleaved, ratio

METHODS = {"without an agent": ("leaf", False), "agent idle": ("leaf", True), "in a capture": ("traced", True)}


def native(bench):
    rounds = 5 if bench.quick else 15
    program = bench.build / "test" / "bench" / "native_bench"

    def measure(method, traced):
        return lambda: float(bench.output([program, method, 2_000_000], traced))

    empty, *results = interleaved(rounds, measure("empty", False), *(measure(*how) for how in METHODS.values()))
    for name, result in zip(METHODS, results):
        yield ratio(f"trace_leaf() {name}, ns", empty, result)
