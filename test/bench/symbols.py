"""Symbols of many addresses: worked out, and from the cache."""

import tempfile

from measure import interleaved, ratio, value_of


def symbols(bench):
    command = [bench.build / "test" / "bench" / "symbols_bench", bench.target("waiters"), 10_000]
    with tempfile.TemporaryDirectory(prefix="asynctrace-bench-") as directory:
        kept = [*command, f"{directory}/cache"]

        def run(command):
            return value_of(bench.output(command, segment=False), "MS")

        run(kept)
        results = interleaved(3 if bench.quick else 9, lambda: run(command), lambda: run(kept))
    yield ratio("symbols of 10,000 addresses, then cached, ms", *results, goal=0.2)
