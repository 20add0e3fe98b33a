"""A stripped program of Debian's on Boost.Asio 1.74, driven with and without the agent: its libraries export what the
census needs."""

import http.client
import json
import socket
import subprocess
from collections import Counter

import pytest
from conftest import PATIENCE, asynctrace
from test_loop_programs import connected, free_port, program

KEA = "isc::http::HttpConnection::"
IDLE = [("async_accept", KEA + "acceptorCallback"), ("signal_set", "isc::asiolink::IOSignalSetImpl::callback")]
# Of each connection: the next request is read, and has to come in time.
CONNECTION = [("async_read_some", KEA + "SocketCallback"), ("timer", "isc::asiolink::IntervalTimerImpl::callback")]
CLASSES = {"async_accept": "io", "async_read_some": "io", "signal_set": "signal", "timer": "timer"}


def operations(dump):
    """What each task waits for and which function that calls; the functions' parameters left out."""
    found = Counter()
    for task in dump["tasks"]:
        (leaf,) = task["leaves"]
        (frame,) = [dump["frames"][index] for index in dump["stacks"][leaf["stack"]]]
        found[leaf["kind"], frame["function"].split("(")[0]] += 1
    return found


def ask(client):
    client.request("POST", "/", json.dumps({"command": "version-get"}), {"Content-Type": "application/json"})
    (answer,) = json.loads(client.getresponse().read())
    assert answer["text"].startswith("2.")


def open_sockets(pid, port):
    """As the kernel tells: listening ones, and connections."""
    lines = subprocess.run(["ss", "-Htnap"], check=True, capture_output=True, text=True, timeout=PATIENCE).stdout
    own = [line.split() for line in lines.splitlines() if f"pid={pid}," in line and f":{port} " in line]
    return Counter(words[0] for words in own)


@pytest.mark.parametrize("by_agent", [False, True], ids=["without", "with"])
def test_kea_control_agent(tmp_path, by_agent):
    port = free_port()
    config = tmp_path / "kea.json"
    agent = {"http-host": "127.0.0.1", "http-port": port}
    agent["control-sockets"] = {"dhcp4": {"socket-type": "unix", "socket-name": str(tmp_path / "dhcp4")}}
    agent["loggers"] = [{"name": "kea-ctrl-agent", "severity": "INFO", "output_options": [{"output": "stdout"}]}]
    config.write_text(json.dumps({"Control-agent": agent}))
    env = {"KEA_PIDFILE_DIR": str(tmp_path), "KEA_LOCKFILE_DIR": str(tmp_path), "KEA_LOGGER_DESTINATION": "stdout"}
    with program(["kea-ctrl-agent", "-c", str(config)], tmp_path, by_agent, env=env) as kea:
        kea.read_until("CTRL_AGENT_STARTED")
        idle, both = Counter(IDLE), Counter(IDLE + 2 * CONNECTION)
        kea.dump_when(lambda dump: operations(dump) == idle)
        assert open_sockets(kea.pid(), port) == {"LISTEN": 1}

        clients = [http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE) for _ in range(2)]
        for client in clients:
            ask(client)
        dump = kea.dump_when(lambda dump: operations(dump) == both)
        assert open_sockets(kea.pid(), port) == {"LISTEN": 1, "ESTAB": 2}
        assert {leaf["kind"]: leaf["class"] for task in dump["tasks"] for leaf in task["leaves"]} == CLASSES
        assert all(leaf["confirmed"] for task in dump["tasks"] for leaf in task["leaves"])
        assert [runtime["name"] for runtime in dump["runtimes"] if runtime["tasks"]] == ["asio"]
        text = asynctrace("dump", kea.pid(), env=kea.env).stdout
        assert f"╼ {KEA}SocketCallback\n  └╼ async_read_some\n" in text
        ask(clients[0])
        for client in clients:
            client.close()
        kea.dump_when(lambda dump: operations(dump) == idle)
