"""Programs of poll loops, unmodified: what they watch, armed where, dispatched how often."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import threading
import time
from collections import Counter

import pytest
from conftest import BUILD, CLI, PATIENCE, asynctrace, differences, kill_group, traced
from processes import compile_c, environment, run

LIBRARIES = {"libevent": "libevent", "libuv": "libuv", "libev": "libev", "glib": "GLib", "sd_event": "sd-event"}


def target_of(library):
    path = BUILD / "test" / "targets" / "loops" / f"{library}_loop"
    assert path.exists(), f"{path} is not built"
    return path


def watcher(dump, task):
    """As the target's LEAF lines have it; functions of the libraries themselves have no names here."""
    (leaf,) = task["leaves"]
    tail_call = leaf["reason"] == "its stack is incomplete" and task["type"] == "on_tail"
    changed = leaf["reason"] == "the program changed its callback while it waited: calls are not counted since"
    assert leaf["confirmed"] and (leaf["reason"] is None or tail_call or changed)
    place = [dump["frames"][i] for i in dump["stacks"][leaf["stack"]] if dump["frames"][i]["class"] == "user"][-1]
    internal = task["type"] and task["type"].startswith("lib") and "+0x" in task["type"]
    line = f"{place['file'].rsplit('/', 1)[-1]}:{place['line']}"
    if tail_call:
        return f"{place['function']} {leaf['kind']}, {task['type']}"
    return f"{line} {leaf['kind']}, {'internal' if internal else task['type'] or 'null'}{' by now' if changed else ''}"


def parked(target):
    """A dump of loops that sleep: they say READY while they are still awake."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        dump = target.dump()
        if all(thread["state"] == "parked" for thread in dump["threads"]):
            return dump
    pytest.fail("some loop never goes to sleep")


@pytest.mark.parametrize("by", ["run", "preload"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_watchers_of_a_library(tmp_path, library, by):
    with traced(target_of(library), segment_dir=tmp_path, by=by) as target:
        dump = parked(target)
        text = asynctrace("dump", target.pid, env=target.env).stdout
    assert {rest.rsplit(" ", 1)[1] for rest in target.words("CHECK")} == {"yes"}, target.lines
    found = Counter(watcher(dump, task) for task in dump["tasks"] if task["kind"] == "task")
    truth = target.words("LEAF") + target.words("TAIL") + [f"{line} by now" for line in target.words("CHANGED")]
    assert differences(Counter(truth), found) == []
    count = len(truth)
    name = LIBRARIES[library]
    assert dump["runtimes"] == [{"name": name, "version": None, "tasks": count, "workers": 1}]
    assert all(count == 0 for count in dump["lost"].values()) and dump["diagnostics"] == []
    polls = {task["type"]: task["polls"] for task in dump["tasks"] if task["leaves"]}
    for callback, count in (rest.split(" ") for rest in target.words("POLLS")):
        assert polls[callback] == int(count), callback
    # GLib has one for signals, which is known once it sleeps.
    assert 1 <= len(dump["threads"]) <= 1 + (library == "glib")
    assert f"{name}, 1 worker: 1 parked" in text and ", calls on_readable" in text
    assert target.process.returncode == 0


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_same_without_an_agent(library):
    result = run([target_of(library)], environment(None), pass_fds=[])
    assert result.returncode == 0 and "CHECK" in result.stdout and " no\n" not in result.stdout


@pytest.mark.parametrize("by", ["run", "preload"])
def test_what_a_program_s_own_loops_watch(tmp_path, by):
    """epoll, poll and select: armed where, how often it fired. Descriptors that were removed or closed are gone."""
    with traced(target_of("plain"), segment_dir=tmp_path, by=by) as target:
        dump = parked(target)
    assert {rest.rsplit(" ", 1)[1] for rest in target.words("CHECK")} == {"yes"}, target.lines
    found = Counter(watcher(dump, task) for task in dump["tasks"] if task["observed"])
    assert differences(Counter(target.words("LEAF")), found) == []
    unseen = [leaf for task in dump["tasks"] if not task["observed"] for leaf in task["leaves"]]
    assert [f"{leaf['kind']}, fd {leaf['descriptor']}" for leaf in unseen] == target.words("UNSEEN")
    assert [(leaf["reason"], leaf["waiting_ns"], leaf["resource"]) for leaf in unseen] == [
        ("the agent did not see it armed", None, "eventfd, count 0")]
    assert Counter((runtime["name"], runtime["tasks"]) for runtime in dump["runtimes"]) == Counter(
        [("epoll", 7), ("poll", 2), ("select", 1)])
    assert sorted(task["polls"] for task in dump["tasks"] if task["runtime"] == "epoll" and task["observed"]) == [
        0, 0, 0, 0, 1, 2]
    assert len(dump["threads"]) == 3
    assert all(count == 0 for count in dump["lost"].values()) and dump["diagnostics"] == []


# Whose functions are stood before.

UNUSED = """
#include <event2/event.h>
#include <stdio.h>
int main(void) { return printf("%s\\n", event_get_version()) < 0; }
"""
OWN = """
#include <event2/event.h>
#include <stdio.h>
#include <unistd.h>
static int calls;
int event_add(struct event *watcher, const struct timeval *after) { (void)watcher, (void)after; return calls++; }
static void on_timer(int fd, short what, void *base) { (void)fd, (void)what; event_base_loopbreak(base); }
int main(void) {
  struct event_base *base = event_base_new();
  struct timeval now = {0, 0};
  struct event *timer = evtimer_new(base, on_timer, base);
  event_base_once(base, -1, EV_TIMEOUT, on_timer, base, &now);
  event_add(timer, &now);
  event_base_loop(base, 0);
  printf("CALLS %d\\nREADY %d\\n", calls, (int)getpid());
  fflush(stdout);
  return (int)read(0, base, 1);
}
"""
ASKS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
int event_add(void *watcher, void *after) __attribute__((weak));
int main(void) { return printf("%d %d\\n", event_add != 0, dlsym(RTLD_DEFAULT, "event_add") != 0) < 0; }
"""

GIVES_UP_ROOT = """
#include <event2/event.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>
static void on_time(evutil_socket_t a, short b, void *c) {}
int main(void) {
  if (setgid(65534) != 0 || setuid(65534) != 0) return 1;
  struct event_base *base = event_base_new();
  struct event *timer = event_new(base, -1, EV_PERSIST, on_time, 0);
  struct timeval hour = {3600, 0};
  event_add(timer, &hour);
  printf("READY %d\\n", (int)getpid());
  fflush(stdout);
  return (int)read(0, &hour, 1);
}
"""


def test_a_library_that_is_not_used_leaves_no_file(tmp_path):
    segments = tmp_path / "segments"
    segments.mkdir(mode=0o700)
    assert run([compile_c(tmp_path, "unused", UNUSED, "-levent")], environment(segments)).returncode == 0
    assert list(segments.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0 and not os.environ.get("CI"), reason="needs root, to give it up")
def test_a_server_that_gives_up_root_before_its_loop(tmp_path):
    """It could not make a file in this directory any more."""
    (tmp_path / "segments").mkdir(mode=0o700)
    program = compile_c(tmp_path, "gives_up_root", GIVES_UP_ROOT, "-levent")
    with traced(program, segment_dir=tmp_path / "segments") as target:
        (task,) = target.dump()["tasks"]
    assert task["type"] == "on_time" and [leaf["kind"] for leaf in task["leaves"]] == ["timer"]


def test_who_asks_for_a_function_is_told_the_truth(tmp_path):
    segments = tmp_path / "segments"
    segments.mkdir(mode=0o700)
    program = compile_c(tmp_path, "asks", ASKS)
    assert [run([program], environment(where)).stdout for where in (None, segments)] == ["0 0\n"] * 2


@pytest.mark.parametrize("binding", ["lazy", "now"])
def test_a_function_of_the_same_name_is_the_program_s_own(tmp_path, binding):
    program = compile_c(tmp_path, "own", OWN, "-rdynamic", f"-Wl,-z,{binding}", "-levent")
    (tmp_path / "segments").mkdir(mode=0o700)
    with traced(program, segment_dir=tmp_path / "segments") as target:
        assert target.words("CALLS") == ["1"]
        assert target.dump()["tasks"] == []


# memcached

@contextlib.contextmanager
def memcached(directory, by_agent):
    """Its port, and how to dump it."""
    port_file = directory / "port"
    segments = directory / "segments"
    segments.mkdir(mode=0o700)
    env = {**environment(None), "ASYNCTRACE_DIR": str(segments), "MEMCACHED_PORT_FILENAME": str(port_file)}
    command = ["memcached", "-u", "root", "-l", "127.0.0.1", "-p", "-1", "-U", "0", "-t", "2"]
    process = subprocess.Popen([str(CLI), "run", "-q", "--", *command] if by_agent else command, env=env,
                               start_new_session=True)
    watchdog = threading.Timer(PATIENCE, kill_group, [process])
    watchdog.start()
    try:
        while not port_file.exists():
            assert process.poll() is None
            time.sleep(0.01)
        port = int(port_file.read_text().split("TCP INET: ")[1].split()[0])
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield port, lambda: json.loads(asynctrace("dump", "--format", "json", children[0], env=env).stdout)
    finally:
        watchdog.cancel()
        kill_group(process)
        process.wait()


def ask(connection, request, end):
    connection.sendall(request)
    answer = b""
    while not answer.endswith(end):
        answer += connection.recv(65536)
    return answer


def session(port):
    """Requests of three clients; what they were answered."""
    clients = [socket.create_connection(("127.0.0.1", port), PATIENCE) for _ in range(3)]
    answers = []
    for i, client in enumerate(clients):
        value = bytes([97 + i]) * 100_000
        answers.append(ask(client, b"set key%d 0 0 %d\r\n%s\r\n" % (i, len(value), value), b"\r\n"))
    for client in reversed(clients):
        answers.append(ask(client, b"get key0 key1 key2 none\r\n", b"END\r\n"))
        answers.append(ask(client, b"incr key0 1\r\n", b"\r\n"))
    return clients, answers


def kinds(dump):
    return Counter(leaf["kind"] for task in dump["tasks"] for leaf in task["leaves"])


def test_memcached(tmp_path):
    directories = [tmp_path / name for name in ("without", "with")]
    for directory in directories:
        directory.mkdir()
    with memcached(directories[0], False) as (port, _):
        clients, expected = session(port)
        for client in clients:
            client.close()
    with memcached(directories[1], True) as (port, dump):
        idle = kinds(dump())
        clients, answers = session(port)
        assert answers == expected
        busy = dump()
        assert busy["runtimes"][0]["name"] == "libevent" and busy["runtimes"][0]["workers"] == 3
        assert kinds(busy) == idle + Counter({"read": 3}) and idle["read"] == 3 and idle["timer"] >= 1
        for client in clients:
            client.close()
        deadline = time.monotonic() + PATIENCE
        while kinds(dump()) != idle:
            assert time.monotonic() < deadline, "a connection that was closed is still watched"
