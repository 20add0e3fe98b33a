"""Nanoseconds for one stack: the agent's verified memo beside what others do."""

from measure import interleaved, ratio

# What each is compared with is captured on the same kind of stack: with frame pointers or without.
PEERS = {"unw_backtrace": "memo", "backtrace": "memo", "frame-pointers": "memo-framed"}
NAMES = {"unw_backtrace": "unw_backtrace", "backtrace": "glibc backtrace", "frame-pointers": "frame-pointer walk"}


def capture(bench):
    rounds = 5 if bench.quick else 15
    for frames in (10, 20, 40):
        methods = ["memo", "memo-framed", *PEERS]
        results = dict(zip(methods, interleaved(rounds, *(measure(bench, name, frames) for name in methods))))
        for peer, memo in PEERS.items():
            yield ratio(f"{frames} frames, {NAMES[peer]} and memo, ns", results[peer], results[memo])


def threads(bench):
    """What threads cost each other that capture at the same time: CPU time of one capture beside that of one thread."""
    rounds = 5 if bench.quick else 15
    counts = (1, 2, 4)
    alone, *others = interleaved(rounds, *(measure(bench, "memo", 20, count) for count in counts))
    for count, result in zip(counts[1:], others):
        yield ratio(f"20 frames, 1 thread and {count}, ns", alone, result)


def measure(bench, method, frames, threads=1):
    calls = 20_000 if method == "backtrace" else 500_000
    program = bench.build / "test" / "bench" / "capture_bench"
    memo = method.startswith("memo")  # leaves a segment
    return lambda: float(bench.output([program, method, frames, calls, threads, bench.segments], segment=memo))
