"""Programs of Debian with poll loops, driven with and without the agent: they work alike, and a dump lists what they
watch."""

import contextlib
import errno
import json
import os
import pathlib
import re
import socket
import socketserver
import subprocess
import threading
import time
from collections import Counter

import pytest
from conftest import CLI, PATIENCE, asynctrace, kill_group
from processes import environment

PROXY = "/lib/systemd/systemd-socket-proxyd"


class Program:
    """Its first process, or the child of `run`; `lines` are those of its stdout."""

    def __init__(self, command, directory, by_agent, env={}, **options):
        segments = directory / "segments"
        segments.mkdir(mode=0o700)
        self.env = {**environment(None), "ASYNCTRACE_DIR": str(segments), **env}
        if by_agent:
            command = [str(CLI), "run", "-q", "--", *command]
        self.by_agent = by_agent
        self.process = subprocess.Popen(command, env=self.env, start_new_session=True, text=True,
                                        stdout=subprocess.PIPE, **options)

    def pid(self):
        if not self.by_agent:
            return self.process.pid
        path = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(path.read_text().split()[0])

    def dump(self):
        return json.loads(asynctrace("dump", "--format", "json", self.pid(), env=self.env).stdout)

    def dump_when(self, holds):
        deadline = time.monotonic() + PATIENCE
        while not holds(dump := self.dump()):
            assert time.monotonic() < deadline, kinds(dump)
        return dump

    def read_until(self, text):
        lines = []
        while text not in (line := self.process.stdout.readline()):
            assert line, lines
            lines.append(line)
        return lines + [line]


@contextlib.contextmanager
def program(*arguments, **options):
    started = Program(*arguments, **options)
    watchdog = threading.Timer(PATIENCE, kill_group, [started.process])
    watchdog.start()
    try:
        yield started
    finally:
        watchdog.cancel()
        kill_group(started.process)
        started.process.wait()
        started.process.stdout.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connected(port):
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), PATIENCE)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline


def kinds(dump):
    return Counter(leaf["kind"] for task in dump["tasks"] for leaf in task["leaves"])


def runtimes(dump):
    return [runtime["name"] for runtime in dump["runtimes"]]


@pytest.mark.parametrize("by_agent", [False, True], ids=["without", "with"])
def test_nghttpd(tmp_path, by_agent):
    """libev: HTTP/2 requests; a connection that is open is read from, and has a time-out."""
    (tmp_path / "file").write_text("text " * 10_000)
    port = free_port()
    with program(["nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", tmp_path, str(port)], tmp_path, by_agent) as server:
        connected(port).close()
        for _ in range(3):
            fetched = subprocess.run(["curl", "-s", "--http2-prior-knowledge", f"http://127.0.0.1:{port}/file"],
                                     capture_output=True, text=True, timeout=PATIENCE)
            assert fetched.stdout == "text " * 10_000
        if not by_agent:
            return
        idle = Counter({"read": 1, "signal": 1})
        dump = server.dump_when(lambda dump: kinds(dump) - Counter(timer=9) == idle)
        assert runtimes(dump) == ["libev"]
        with connected(port):
            server.dump_when(lambda dump: kinds(dump) - Counter(timer=9) == idle + Counter(read=1))
        server.dump_when(lambda dump: kinds(dump) - Counter(timer=9) == idle)


def wait_for_reader(fifo):
    """Its other end."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            assert error.errno == errno.ENXIO and time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize("by_agent", [False, True], ids=["without", "with"])
def test_ctest(tmp_path, by_agent):
    """libuv: waits for its child's output and end, no longer than told."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "CTestTestfile.cmake").write_text(
        f'add_test(reads /bin/cat "{fifo}")\nset_tests_properties(reads PROPERTIES TIMEOUT 600)\n')
    with program(["ctest", "-V"], tmp_path, by_agent, cwd=tmp_path) as ctest:
        writer = wait_for_reader(fifo)
        if by_agent:
            dump = ctest.dump_when(lambda dump: kinds(dump) == Counter({"read": 1, "signal": 1, "timer": 1}))
            assert runtimes(dump) == ["libuv"]
            resources = {leaf["kind"]: leaf["resource"] for task in dump["tasks"] for leaf in task["leaves"]}
            assert re.fullmatch(r"timer, due in (10m|9m\d+s|8m\d+s)", resources.pop("timer"))  # of 600 s
            assert resources == {"read": "pipe, read end", "signal": "SIGCHLD"}
        os.write(writer, b"what it reads\n")
        os.close(writer)
        ctest.read_until("1: what it reads")
        ctest.read_until("100% tests passed, 0 tests failed out of 1")
        assert ctest.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("by_agent", [False, True], ids=["without", "with"])
def test_gdbus_monitor(tmp_path, by_agent):
    """GLib: signals of a bus come out as lines, sent before and after a dump."""
    bus = subprocess.Popen(["dbus-daemon", "--session", "--nofork", "--print-address"], stdout=subprocess.PIPE, text=True)
    try:
        address = bus.stdout.readline().strip()
        env = {"DBUS_SESSION_BUS_ADDRESS": address}
        command = ["gdbus", "monitor", "--session", "--dest", "org.freedesktop.DBus"]
        with program(command, tmp_path, by_agent, env=env) as monitor:
            monitor.read_until("is owned by")

            def call():
                command = ["gdbus", "call", "--session", "--dest", "org.freedesktop.DBus", "--object-path", "/",
                           "--method", "org.freedesktop.DBus.GetId"]
                subprocess.run(command, env={**os.environ, **env}, check=True, stdout=subprocess.DEVNULL,
                               timeout=PATIENCE)

            def changes_owner():
                """Who calls comes to the bus and leaves it. Again and again, for when the monitor listens is not told."""
                is_seen = threading.Event()

                def come_and_go():
                    while not is_seen.is_set():
                        call()

                caller = threading.Thread(target=come_and_go)
                caller.start()
                line = monitor.read_until("NameOwnerChanged")[-1]
                is_seen.set()
                caller.join()
                return line

            assert "org.freedesktop.DBus.NameOwnerChanged (':1." in changes_owner()
            if by_agent:
                dump = monitor.dump_when(lambda dump: sum(kinds(dump).values()) >= 1)
                assert runtimes(dump) == ["GLib"]
                assert {task["runtime"] for task in dump["tasks"]} == {"GLib"}
            assert "org.freedesktop.DBus.NameOwnerChanged (':1." in changes_owner()
    finally:
        bus.kill()
        bus.wait()
        bus.stdout.close()


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)


@pytest.mark.skipif(not os.path.exists(PROXY), reason="needs systemd")
@pytest.mark.parametrize("by_agent", [False, True], ids=["without", "with"])
def test_systemd_socket_proxyd(tmp_path, by_agent):
    """sd-event: what comes through the proxy is what was sent; each side of a connection is watched."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as behind, \
            socket.create_server(("127.0.0.1", 0)) as front:
        threading.Thread(target=behind.serve_forever, daemon=True).start()
        # The proxy takes descriptor 3, if that is meant for its process.
        script = "exec 3<&0; LISTEN_FDS=1 LISTEN_PID=$$ exec $0 127.0.0.1:$1"
        command = ["sh", "-c", script, PROXY, str(behind.server_address[1])]
        with program(command, tmp_path, by_agent, stdin=front) as proxy:
            clients = [connected(front.getsockname()[1]) for _ in range(3)]
            for i, client in enumerate(clients):
                sent = bytes([97 + i]) * 300_000
                client.sendall(sent)
                got = b""
                while len(got) < len(sent):
                    got += client.recv(65536)
                assert got == sent
            if by_agent:
                # Its own socket, both ends of each connection, and the resolver of names.
                dump = proxy.dump_when(lambda dump: kinds(dump)["read"] == 8)
                assert runtimes(dump) == ["sd-event"]
            for client in clients:
                client.close()
            if by_agent:
                proxy.dump_when(lambda dump: kinds(dump)["read"] == 2)
        behind.shutdown()
