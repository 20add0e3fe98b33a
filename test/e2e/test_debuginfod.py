"""Symbols from a debuginfod server: Debian's own, on the loopback, over a directory of the test's."""

import http.client
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import threading

import pytest
from conftest import CLI, PATIENCE, asynctrace, program, traced
from pty_session import wait_until


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def gone(tmp_path):
    """The segment of a program that is no longer where it was, its only copy, and an environment."""
    directory = tmp_path / "segments"
    directory.mkdir(mode=0o700)
    app = tmp_path / "app"
    shutil.copy(program("waiters"), app)
    with traced(app, 10, segment_dir=directory) as target:
        segment = target.kill()
    served = tmp_path / "served"
    served.mkdir()
    app.rename(served / "app")
    env = {**target.env, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "no_proxy": "127.0.0.1"}
    env.pop("DEBUGINFOD_URLS", None)
    return segment, served, env


def dump(segment, env, *options):
    result = asynctrace("dump", "--format=json", *options, segment, env=env)
    return json.loads(result.stdout), result.stderr


def waits_in_source(document):
    return {frame["function"] for frame in document["frames"] if frame["file"] and "waiters.rs" in frame["file"]}


def serve(directory, tmp_path):
    port = free_port()
    return port, subprocess.Popen(["debuginfod", "-p", str(port), "-d", tmp_path / "index.sqlite", "-F", "-c", "1", directory],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def serves(port, build_id):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("GET", f"/buildid/{build_id}/debuginfo")
        return connection.getresponse().status == 200
    except ConnectionError:
        return False


def test_a_server_has_what_is_missing_here(gone, tmp_path):
    segment, served, env = gone
    without, _ = dump(segment, env)
    assert "file_gone" in [diagnostic["code"] for diagnostic in without["diagnostics"]]
    (build_id,) = [module["build_id"] for module in without["modules"] if module["path"] == without["process"]["exe"]]
    if not shutil.which("debuginfod"):
        pytest.fail("debuginfod is not installed")
    port, server = serve(served, tmp_path)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: serves(port, build_id), "it serves the file")
        env = {**env, "DEBUGINFOD_URLS": url}
        document, stderr = dump(segment, env, "--debuginfod")
        assert "async fn waiters::wait_for_sleep" in waits_in_source(document) and stderr == ""
        # Off by default, whatever the environment of other tools says.
        assert dump(segment, env, "--no-cache")[0]["frames"] == without["frames"]
        packed = tmp_path / "packed"
        asynctrace("pack", "--debuginfod", segment, "-o", packed, env=env)
    finally:
        server.kill()
        server.wait(PATIENCE)
    assert dump(packed, env)[0]["frames"] == document["frames"]


def test_without_a_server_it_says_what_to_set(gone):
    segment, _, env = gone
    result = asynctrace("dump", "--debuginfod", segment, env=env, check=False)
    assert result.returncode == 2 and "no server is named" in result.stderr
    assert "remedy: set DEBUGINFOD_URLS" in result.stderr


def test_a_server_that_refuses_is_told_of_once(gone):
    segment, _, env = gone
    document, stderr = dump(segment, {**env, "DEBUGINFOD_URLS": f"http://127.0.0.1:{free_port()}"}, "--debuginfod")
    assert stderr.count("asynctrace: debuginfod: ") == 1
    assert "file_gone" in [diagnostic["code"] for diagnostic in document["diagnostics"]]


def test_interrupt_goes_on_without(gone):
    """The server takes the connection and never answers."""
    segment, _, env = gone
    with socket.create_server(("127.0.0.1", 0)) as silent:
        env = {**env, "DEBUGINFOD_URLS": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        process = subprocess.Popen([CLI, "dump", "--format=json", "--debuginfod", segment], env=env, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        silent.settimeout(PATIENCE)
        connection, _ = silent.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and "interrupted; going on without" in stderr
    assert stderr.count("debuginfod") == 1
    assert json.loads(stdout)["schema"] == "asynctrace.dump/1"


def test_progress_is_for_terminals(gone):
    """The server begins to answer; what a terminal sees is then counted."""
    segment, _, env = gone
    with socket.create_server(("127.0.0.1", 0)) as slow:
        env = {**env, "DEBUGINFOD_URLS": f"http://127.0.0.1:{slow.getsockname()[1]}"}
        controller, terminal = pty.openpty()
        process = subprocess.Popen([CLI, "dump", "--debuginfod", segment], env=env, stdout=subprocess.DEVNULL, stderr=terminal)
        os.close(terminal)
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        slow.settimeout(PATIENCE)
        connection, _ = slow.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(100_000))
            seen = b""
            while b"KiB" not in seen:
                seen += os.read(controller, 4096)
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0
        watchdog.cancel()
        os.close(controller)
    assert b"debuginfod: " in seen and b"Ctrl-C" in seen
