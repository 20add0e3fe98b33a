"""What the watchers of a poll loop wait for, which of it is ready and not served, and what armed it."""

import ctypes
import json
import re
import struct
import subprocess
import threading
from collections import Counter

import pytest
from conftest import BUILD, CLI, PATIENCE, asynctrace, differences, lacking, traced
from processes import compile_c
from test_loops import LIBRARIES, memcached, parked, session, target_of
from test_schema import check

TARGET = BUILD / "test" / "targets" / "loops" / "descriptors"


def started(tmp_path, what, **how):
    files = tmp_path / "files"
    files.mkdir()
    return traced(TARGET, what, files, segment_dir=tmp_path, **how)


def leaves(dump):
    return [leaf for task in dump["tasks"] for leaf in task["leaves"]]


def without_seconds(resource):
    return re.sub(r"in 59m\d\ds", "in 59m59s", resource)


def test_what_descriptors_are(tmp_path):
    with started(tmp_path, "kinds") as target:
        dump = parked(target)
        text = asynctrace("dump", target.pid, env=target.env).stdout
        jsonl = asynctrace("dump", "--format", "jsonl", target.pid, env=target.env).stdout
        segment = target.kill()
        dead = json.loads(asynctrace("dump", "--format", "json", segment).stdout)
        dead_text = asynctrace("dump", segment).stdout
    check(dump)
    assert dump["suspects"] == [] and dump["diagnostics"] == []
    found = Counter(f"{leaf['descriptor']} {without_seconds(leaf['resource'])}" for leaf in leaves(dump)
                    if leaf["class"] == "io" and leaf["descriptor"] != 0)
    truth = Counter(target.words("RESOURCE"))
    assert differences(truth, found) == [] and len(truth) == 15
    assert [leaf["resource"] for leaf in leaves(dump) if leaf["class"] == "signal"] == ["SIGUSR1"]
    for resource in truth:
        shown = "fd " + resource.replace(" ", ": ", 1)
        assert f"read, calls on_any  {shown}\n" in without_seconds(text)
        assert f'"resource":"{resource.partition(" ")[2]}"' in without_seconds(jsonl)
    assert "signal, calls on_any  SIGUSR1\n" in text

    check(dead)
    assert {leaf["resource"] for leaf in leaves(dead)} == {None, "SIGUSR1"}
    assert Counter(leaf["descriptor"] for leaf in leaves(dead)) == Counter(leaf["descriptor"] for leaf in leaves(dump))
    assert [(known["code"], known["message"]) for known in dead["diagnostics"]] == [
        ("descriptors_unknown", "what the descriptors are is not known: the process is gone")]
    assert "read, calls on_any  fd 6; fd " in dead_text or "read, calls on_any  fd 6\n" in dead_text


def test_in_a_network_of_its_own(tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    if subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode != 0:
        lacking("no right to make a network namespace")
    inside = 'ip link set lo up && exec "$0" "$@"'
    with traced("/usr/bin/unshare", "--net", "sh", "-c", inside, TARGET, "kinds", files, segment_dir=tmp_path) as target:
        dump = parked(target)
    found = Counter(leaf["resource"] for leaf in leaves(dump) if (leaf["resource"] or "").startswith(("tcp", "udp", "unix")))
    truth = Counter(rest.split(" ", 1)[1] for rest in target.words("RESOURCE"))
    assert len(found) == 6 and found <= truth


@pytest.mark.parametrize("library", LIBRARIES)
def test_descriptors_of_each_library(tmp_path, library):
    with traced(target_of(library), segment_dir=tmp_path) as target:
        dump = parked(target)
    found = [leaf for leaf in leaves(dump) if leaf["descriptor"] is not None]
    assert all(leaf["resource"] for leaf in found)
    assert "pipe, read end" in {leaf["resource"] for leaf in found}
    assert dump["suspects"] == []


def unserved(target, command=CLI, **how):
    found = subprocess.run([command, "dump", "--format", "json", str(target.pid)], env=target.env, capture_output=True,
                           text=True, timeout=PATIENCE, check=True, **how)
    dump = json.loads(found.stdout)
    check(dump)
    return dump, [suspect for suspect in dump["suspects"] if suspect["kind"] == "ready_not_served"]


@pytest.mark.parametrize("what, function, loop", [
    ("blocked", "on_late", "thread {} is in one call of on_block"),
    ("swapped", "on_swapped", "the loop of thread {} sleeps"),
    ("timer", "on_late", "the loop of thread {} turned N times"),
])
def test_ready_and_not_served(tmp_path, what, function, loop):
    with started(tmp_path, what) as target:
        dump, (suspect,) = unserved(target)
        text = asynctrace("dump", target.pid, env=target.env).stdout if what == "blocked" else None
    (truth,) = target.words("UNSERVED")
    descriptor, _, resource = truth.partition(" ")
    (task,) = [task for task in dump["tasks"] if suspect["tasks"] == [task["id"]]]
    assert task["type"] == function and task["leaves"][0]["descriptor"] == int(descriptor)
    evidence = re.sub(r"ready for \S+", "ready for TIME", suspect["evidence"])
    evidence = re.sub(r"at \d+ looks", "at N looks", re.sub(r"turned \d+ times", "turned N times", evidence))
    assert evidence == (f"fd {descriptor} ({resource}) has been ready for TIME and {function} was not called; "
                        f"seen by poll(2) at N looks, while {loop.format(target.pid)}")
    if text is not None:
        assert f". task {task['id']}: fd {descriptor} ({resource}) has been ready for " in text.partition("SUSPECTS")[2]


# Without a library. "edge": reads less than there is, and is not told again. "other": sleeps in another epoll than the
# one that it was added to. "away": leaves its loop.
PLAIN = """
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
int main(int argc, char **argv) {
  int away = argc > 1 && strcmp(argv[1], "away") == 0, ends[2], epoll = epoll_create1(0);
  int edge = argc > 1 && strcmp(argv[1], "edge") == 0, other = argc > 1 && strcmp(argv[1], "other") == 0;
  char byte;
  if (pipe(ends) != 0) return 1;
  struct epoll_event late = {edge ? EPOLLIN | EPOLLET : EPOLLIN, {.fd = ends[0]}};
  struct epoll_event end = {EPOLLIN, {.fd = 0}}, event;
  epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &late);
  epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &end);
  if (write(ends[1], "abc", 3) != 3 || epoll_wait(epoll, &event, 1, -1) != 1 || read(ends[0], &byte, 1) != 1) return 1;
  printf("UNSERVED %d\\nREADY %d\\n", ends[0], (int)getpid());
  fflush(stdout);
  if (away) return read(0, &byte, 1) != 0;
  if (other && (epoll = epoll_create1(0)) > 0) epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &end);
  while (epoll_wait(epoll, &event, 1, -1) == 1 && event.data.fd != 0) continue;
  return 0;
}
"""


@pytest.mark.parametrize("what, loop", [("other", "the loop of thread {} sleeps"),
                                        ("away", "thread {} does not come back to its loop")])
def test_ready_in_a_loop_of_the_program_itself(tmp_path, what, loop):
    program = compile_c(tmp_path, "plain", PLAIN, "-g")
    with traced(program, what, segment_dir=tmp_path) as target:
        dump, (suspect,) = unserved(target)
    (descriptor,) = target.words("UNSERVED")
    assert [leaf["descriptor"] for task in dump["tasks"] if task["id"] in suspect["tasks"] for leaf in task["leaves"]] == [
        int(descriptor)]
    assert suspect["evidence"].startswith(f"fd {descriptor} (pipe, read end) has been ready for ")
    assert " and nobody took it up; seen by poll(2) at " in suspect["evidence"]
    assert suspect["evidence"].endswith(" looks, while " + loop.format(target.pid))


@pytest.mark.parametrize("by", ["libevent", "epoll"])
def test_what_was_told_once_may_be_left_unread(tmp_path, by):
    """Edge-triggered: whoever was told may let the sender wait, so that it is no suspect; what is known is said."""
    if by == "libevent":
        started_one = started(tmp_path, "edge")
    else:
        started_one = traced(compile_c(tmp_path, "plain", PLAIN, "-g"), "edge", segment_dir=tmp_path)
    with started_one as target:
        dump, suspects = unserved(target)
    assert suspects == []
    (descriptor,) = (int(words.split(" ")[0]) for words in target.words("UNSERVED"))
    assert [leaf["resource"] for leaf in leaves(dump) if leaf["descriptor"] == descriptor] == [
        "pipe, read end, ready (edge-triggered: told once)"]


@pytest.mark.parametrize("what, kind", [("writable", "read or write"), ("bell", "read")])
def test_what_an_epoll_has_told_once_may_stay_so(tmp_path, what, kind):
    """Writable, or an eventfd that is a bell and never read."""
    with started(tmp_path, what) as target:
        dump, suspects = unserved(target)
    assert suspects == []
    assert kind in {leaf["kind"] for leaf in leaves(dump)}


def refuse_copies():
    """In a child process: pidfd_getfd is not permitted, as it is where only a parent may trace."""
    load_number, if_equal, return_value = 0x20, 0x15, 0x06
    program = b"".join(struct.pack("HBBI", *line) for line in [
        (load_number, 0, 0, 0), (if_equal, 0, 1, 438), (return_value, 0, 0, 0x00050000 | 1),
        (return_value, 0, 0, 0x7FFF0000)])
    text = ctypes.create_string_buffer(program)
    filter_program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 4, ctypes.addressof(text)))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, by_filter = 38, 22, 2
    assert libc.prctl(no_new_privileges, 1, 0, 0, 0) == 0
    assert libc.prctl(set_seccomp, by_filter, filter_program) == 0


@pytest.mark.parametrize("what, seen", [("timer", ["the ticks in its fdinfo"]), ("swapped", [])])
def test_without_the_permission_to_copy_descriptors(tmp_path, what, seen):
    """What /proc tells is enough for a timer, and says nothing about a pipe."""
    with started(tmp_path, what) as target:
        _, suspects = unserved(target, preexec_fn=refuse_copies)
    assert [re.search("seen by (.*) at", suspect["evidence"])[1] for suspect in suspects] == seen


def test_busy_loops_are_no_suspects(tmp_path, quick):
    """There is always something to read; memcached leaves a connection for others after some requests."""
    done = threading.Event()
    with memcached(tmp_path, True) as (port, dump):
        clients, _ = session(port)

        def keep_busy(client):
            while not done.is_set():
                client.sendall(b"get none\r\n" * 2000)
                missing = 2000 * len(b"END\r\n")
                while missing > 0:
                    missing -= len(client.recv(65536))

        threads = [threading.Thread(target=keep_busy, args=[client]) for client in clients]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10 if quick else 40):
                assert dump()["suspects"] == []
        finally:
            done.set()
            for thread in threads:
                thread.join(PATIENCE)


# Causes

def links_of(dump, callback):
    """Of the one watcher that calls it; each as the target's lines have it."""
    (task,) = [task for task in dump["tasks"] if task["type"] == callback]
    links = []
    for link in task["causes"]["links"]:
        place = [dump["frames"][i] for i in dump["stacks"][link["stack"]] if dump["frames"][i]["class"] == "user"][-1]
        links.append(f"{link['function']} {place['file'].rsplit('/', 1)[-1]}:{place['line']}")
    return links, task["causes"]


def causes(tmp_path, what, callback):
    """The target's lines, the chain of the watcher that calls `callback`, and the text."""
    with started(tmp_path, what) as target:
        dump = json.loads(asynctrace("dump", "--causes", "--format", "json", target.pid, env=target.env).stdout)
        jsonl = asynctrace("dump", "--causes", "--format", "jsonl", target.pid, env=target.env).stdout
        text = asynctrace("dump", "--causes", target.pid, env=target.env).stdout
        plain = asynctrace("dump", target.pid, env=target.env).stdout
        segment = target.kill()
        dead = json.loads(asynctrace("export", "--causes", "--format", "json", segment).stdout)
    check(dump)
    written = {json.loads(line)["index"] for line in jsonl.splitlines() if line.startswith('{"index"') and '"stack"' in line}
    assert "caused by" not in plain
    links, chain = links_of(dump, callback)
    assert {link["stack"] for link in chain["links"]} <= written
    assert links_of(dead, callback)[0] == links
    return target, links, chain, text


def test_a_chain_of_causes(tmp_path):
    target, links, chain, text = causes(tmp_path, "chain", "step_12")
    truth = target.words("CAUSE")
    assert len(truth) == 11
    assert links == truth[::-1][:8]
    assert chain["more"] and {link["state"] for link in chain["links"]} == {"known"}
    shown = [line.strip() for line in text.splitlines() if "caused by" in line or line.strip() == "..."]
    assert [re.sub(r"caused by (\w+), armed in \w+ at .*/(descriptors.cpp:\d+):\d+", r"\1 \2", line)
            for line in shown] == [*links, "..."]


def test_causes_in_a_packed_file(tmp_path):
    with started(tmp_path, "chain") as target:
        segment = target.kill()
    asynctrace("pack", segment, "-o", tmp_path / "packed")
    dumps = [json.loads(asynctrace("dump", "--causes", "--format", "json", file).stdout)
             for file in (segment, tmp_path / "packed")]
    assert links_of(dumps[1], "step_12")[0] == links_of(dumps[0], "step_12")[0] == target.words("CAUSE")[::-1][:8]


def test_a_cause_that_is_gone(tmp_path):
    target, links, chain, text = causes(tmp_path, "gone", "on_any")
    assert links == target.words("CAUSE")
    assert [link["state"] for link in chain["links"]] == ["gone"] and not chain["more"]
    assert "     caused by gone_2 (gone), armed in gone_1 at " in text


def test_a_cause_that_was_armed_again(tmp_path):
    target, links, chain, text = causes(tmp_path, "again", "on_any")
    assert links == target.words("CAUSE")[:1]
    assert [link["state"] for link in chain["links"]] == ["armed_again"]
    assert "     caused by on_again (armed again since), armed in on_again at " in text
