"""A poll loop that does nothing but arm and dispatch: CPU nanoseconds of a turn."""

from measure import interleaved, ratio


def loops(bench):
    program = bench.build / "test" / "bench" / "loop_bench"
    turns = 200_000 if bench.quick else 1_000_000

    def measure(traced):
        return lambda: float(bench.output([program, turns], traced))

    yield ratio("libevent arm and dispatch, ns", *interleaved(5 if bench.quick else 9, measure(False), measure(True)),
                goal=1.6)
