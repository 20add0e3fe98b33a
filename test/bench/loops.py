"""Poll loops: one that does nothing but arm and dispatch, and memcached, which does some work in between."""

import contextlib
import pathlib
import socket
import tempfile
import time

from measure import PATIENCE, interleaved, ratio
from programs import cpu_ns


def loops(bench):
    program = bench.build / "test" / "bench" / "loop_bench"
    turns = 200_000 if bench.quick else 1_000_000

    def measure(traced):
        return lambda: float(bench.output([program, turns], traced))

    yield ratio("libevent arm and dispatch, ns", *interleaved(5 if bench.quick else 9, measure(False), measure(True)),
                goal=1.6)
    with tempfile.TemporaryDirectory(prefix="asynctrace-bench-") as directory:
        directory = pathlib.Path(directory)
        pairs = interleaved(5 if bench.quick else 15, lambda: memcached(bench, directory, False),
                            lambda: memcached(bench, directory, True))
    yield ratio("memcached, server's CPU ns a request", *pairs, goal=1.05)


def memcached(bench, directory, traced):
    """CPU time of the server for one request: one dispatch, two system calls. What it needs to start is left out."""
    requests = 10_000 if bench.quick else 40_000
    path = directory / "server"
    command = ["memcached", "-u", "root", "-s", path, "-t", "1"]
    server = bench.start(command, traced)
    try:
        clients = [connected(path) for _ in range(8)]
        for client in clients:
            ask(client, b"set key 0 0 100\r\n" + b"x" * 100 + b"\r\n")
        began = cpu_ns(server.pid)
        for i in range(requests):
            ask(clients[i % len(clients)], b"get key\r\n")
        used = cpu_ns(server.pid) - began
        for client in clients:
            client.close()
    finally:
        server.terminate()
        server.communicate(timeout=PATIENCE)
        path.unlink(missing_ok=True)
        bench.remove_segments(expected=traced)
    return used / requests


def connected(path):
    deadline = time.monotonic() + PATIENCE
    client = socket.socket(socket.AF_UNIX)
    while True:
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            client.connect(str(path))
            return client
        if time.monotonic() > deadline:
            raise RuntimeError("memcached does not listen")


def ask(client, request):
    client.sendall(request)
    if not client.recv(4096).endswith(b"\r\n"):
        raise RuntimeError("memcached cut its answer in two")
