"""Poll loops in processes that fork, have many threads, load their libraries late, or are attached to."""

import json
import os
import signal
import time
from collections import Counter

import pytest
from attaching import running
from conftest import PATIENCE, asynctrace, program, traced
from processes import compile_c

HEAD = """
#define _GNU_SOURCE
#include <event2/event.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>
static struct timeval hour = {3600, 0};
static void on_timer(int fd, short what, void *base) { (void)fd, (void)what, (void)base; }
static inline void on_end(int fd, short what, void *base) { (void)fd, (void)what; event_base_loopbreak(base); }
static inline struct event *arm(struct event_base *base) {
  struct event *timer = evtimer_new(base, on_timer, base);
  event_add(timer, &hour);
  return timer;
}
static inline void ready(void) { printf("READY %d\\n", (int)getpid()), fflush(stdout); }
static inline void run_to_end(struct event_base *base) {
  event_add(event_new(base, 0, EV_READ, on_end, base), 0);
  event_base_dispatch(base);
}
"""

FORKS = HEAD + """
int main(void) {
  struct event_base *base = event_base_new();
  struct event *first = arm(base);
  arm(base), arm(base);
  const pid_t parent = getpid();
  if (fork() == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    event_reinit(base);
    event_free(first);
    printf("CHILD %d\\n", (int)getpid()), fflush(stdout);
    if (getppid() == parent) event_base_dispatch(base);
    return 0;
  }
  ready();
  run_to_end(base);
  return 0;
}
"""

THREADS = HEAD + """
enum { kThreads = 8, kTimers = 500 };
static pthread_barrier_t armed;
static void *thread(void *argument) {
  struct event_base *base = event_base_new();
  struct event *timers[kTimers];
  for (int i = 0; i < kTimers; i++) timers[i] = arm(base);
  for (int i = 0; i < kTimers / 2; i++) event_free(timers[i]);
  pthread_barrier_wait(&armed);
  event_base_dispatch(base);
  return argument;
}
int main(void) {
  pthread_t threads[kThreads];
  pthread_barrier_init(&armed, 0, kThreads + 1);
  for (int i = 0; i < kThreads; i++) pthread_create(&threads[i], 0, thread, 0);
  pthread_barrier_wait(&armed);
  struct event_base *base = event_base_new();
  ready();
  run_to_end(base);
  return 0;
}
"""

PLUGIN = HEAD + """
void run(void) {
  struct event_base *base = event_base_new();
  arm(base), arm(base);
  ready();
  run_to_end(base);
}
"""
LOADS = """
#include <dlfcn.h>
int main(int count, char **arguments) {
  void *plugin = dlopen(arguments[count - 1], RTLD_NOW);
  if (!plugin) return 1;
  ((void (*)(void))dlsym(plugin, "run"))();
  return 0;
}
"""

BLOCKS = HEAD + """
static void blocks(int fd, short what, void *base) {
  char byte;
  (void)fd, (void)what, (void)base;
  ready();
  if (read(0, &byte, 1) != 0) abort();
  exit(0);
}
int main(void) {
  struct event_base *base = event_base_new();
  struct timeval now = {0, 0};
  arm(base);
  event_add(evtimer_new(base, blocks, base), &now);
  event_base_dispatch(base);
  return 0;
}
"""

SPINS = HEAD + """
#include <fcntl.h>
int main(void) {
  char byte;
  struct event_base *base = event_base_new();
  arm(base);
  fcntl(0, F_SETFL, O_NONBLOCK);
  ready();
  while (read(0, &byte, 1) != 0) event_base_loop(base, EVLOOP_NONBLOCK);
  return 0;
}
"""

LATE = HEAD + """
static void on_line(int fd, short what, void *base) {
  char line[16];
  (void)what;
  if (read(fd, line, sizeof(line)) <= 0) exit(0);
  arm(base);
  printf("ARMED\\n"), fflush(stdout);
}
int main(void) {
  struct event_base *base = event_base_new();
  event_add(event_new(base, 0, EV_READ | EV_PERSIST, on_line, base), 0);
  ready();
  event_base_dispatch(base);
  return 0;
}
"""


def calls(dump):
    return Counter(task["type"] for task in dump["tasks"] if task["leaves"])


def dump_of(pid, env, *options):
    return json.loads(asynctrace("dump", "--format", "json", *options, pid, env=env).stdout)


def test_a_forked_child_has_the_watchers_of_its_parent(tmp_path):
    """And what it frees is its own."""
    program = compile_c(tmp_path, "forks", FORKS, "-g", "-levent")
    segments = tmp_path / "segments"
    segments.mkdir()
    with traced(program, segment_dir=segments) as target:
        child = int(target.words("CHILD")[0]) if target.words("CHILD") else None
        if child is None:
            word, rest = target.process.stdout.readline().split()
            assert word == "CHILD"
            child = int(rest)
        parents, childs = target.dump(), dump_of(child, target.env)
        assert calls(parents) == Counter(on_timer=3, on_end=1) and calls(childs) == Counter(on_timer=2)
        os.kill(child, signal.SIGKILL)
        assert calls(target.dump()) == calls(parents)


def test_many_threads_arm(tmp_path):
    program = compile_c(tmp_path, "threads", THREADS, "-g", "-pthread", "-levent")
    segments = tmp_path / "segments"
    segments.mkdir()
    with traced(program, segment_dir=segments) as target:
        dump = target.dump()
        assert calls(dump) - Counter(on_end=1) == Counter(on_timer=8 * 250)
        assert all(count == 0 for count in dump["lost"].values())


def test_a_library_that_is_loaded_late(tmp_path):
    plugin = compile_c(tmp_path, "plugin.so", PLUGIN, "-g", "-shared", "-fPIC", "-levent")
    program = compile_c(tmp_path, "loads", LOADS)
    segments = tmp_path / "segments"
    segments.mkdir()
    with traced(program, plugin, segment_dir=segments) as target:
        while (calls_now := calls(target.dump())) != Counter(on_timer=2, on_end=1):
            assert calls_now - Counter(on_timer=2, on_end=1) == Counter()


def test_a_callback_that_blocks_is_a_suspect(tmp_path):
    program = compile_c(tmp_path, "blocks", BLOCKS, "-g", "-levent")
    segments = tmp_path / "segments"
    segments.mkdir()
    with traced(program, segment_dir=segments) as target:
        dump = dump_of(target.pid, target.env, "--blocked", "1ns")
        (suspect,) = [one for one in dump["suspects"] if one["kind"] == "blocked_worker"]
        (task,) = [task for task in dump["tasks"] if task["id"] in suspect["tasks"]]
        assert task["type"] == "blocks" and task["state"] == "running"
        native = [dump["frames"][i]["function"] for i in dump["stacks"][task["running_stack"]]]
        assert native[0] == "blocks", native
        assert calls(dump) == Counter(on_timer=1)


def test_a_loop_that_never_sleeps_is_never_parked(tmp_path):
    program = compile_c(tmp_path, "spins", SPINS, "-g", "-levent")
    segments = tmp_path / "segments"
    segments.mkdir()
    with traced(program, segment_dir=segments) as target:
        dumps = [target.dump() for _ in range(5)]
    assert all(thread["state"] != "parked" for dump in dumps for thread in dump["threads"])
    assert [calls(dump) for dump in dumps] == [Counter(on_timer=1)] * 5


OWN_LOOP = """
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>
static int epoll;
static int add(int fd) {
  struct epoll_event event = {EPOLLIN, {.fd = fd}};
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}
int main(void) {
  struct epoll_event event;
  char line[64];
  int ends[2];
  epoll = epoll_create1(0);
  if (add(0) != 0) return 1;
  printf("READY %d\\n", (int)getpid()), fflush(stdout);
  while (epoll_wait(epoll, &event, 1, -1) == 1 && read(0, line, sizeof(line)) > 0) {
    if (pipe(ends) != 0 || add(ends[0]) != 0) return 1;
    printf("ARMED\\n"), fflush(stdout);
  }
  return 0;
}
"""


def kinds(dump):
    return Counter(leaf["kind"] for task in dump["tasks"] for leaf in task["leaves"])


def unseen(dump):
    leaves = [leaf for task in dump["tasks"] if not task["observed"] for leaf in task["leaves"]]
    assert {leaf["reason"] for leaf in leaves} <= {"the agent did not see it armed"}
    return len(leaves)


@pytest.mark.parametrize("name, source, watchers, before", [
    ("late", LATE, lambda dump: calls(dump)["on_timer"], (0, 0)),
    ("own", OWN_LOOP, lambda dump: kinds(dump)["read"] - unseen(dump), (2, 3))])
def test_a_loop_that_is_attached_to(tmp_path, name, source, watchers, before):
    """What is armed while the agent is there; of a program's own loops what was armed before, too. After detach the
    program goes on."""
    program = compile_c(tmp_path, name, source, "-g", "-levent")
    segments = tmp_path / "segments"
    segments.mkdir()
    with running([program], segments) as target:
        def arm():
            target.tell("once more")
            target.until("ARMED")

        target.until("READY")
        arm()
        target.attach()
        arm()
        arm()
        first = target.dump()
        assert watchers(first) == 2 and unseen(first) == before[0]
        target.detach()
        arm()
        target.attach()
        arm()
        again = target.dump()
        assert watchers(again) == 3 and unseen(again) == before[1]
        assert {runtime["name"] for runtime in again["runtimes"]} == {"epoll" if before[0] else "libevent"}
        target.process.stdin.close()
        assert target.process.wait(PATIENCE) == 0


def test_what_was_armed_before_attach_where_nothing_is_since(tmp_path):
    """Its thread sleeps in the program's own epoll."""
    program = compile_c(tmp_path, "own", OWN_LOOP, "-g")
    segments = tmp_path / "segments"
    segments.mkdir()
    with running([program], segments) as target:
        target.until("READY")
        target.tell("once")
        target.until("ARMED")
        target.attach()
        dump = parked_in_epoll(target)
        text = asynctrace("dump", target.pid, env=target.env).stdout
        assert kinds(dump) == Counter(read=2) and unseen(dump) == 2
        assert Counter(leaf["resource"] for task in dump["tasks"] for leaf in task["leaves"]) == Counter(
            ["pipe, read end"] * 2)
        assert "read (armed unseen)  fd 0: pipe, read end" in text
        target.process.stdin.close()
        assert target.process.wait(PATIENCE) == 0


def parked_in_epoll(target):
    """Until its thread sleeps there again: attach has woken it."""
    deadline = time.monotonic() + PATIENCE
    while not (dump := target.dump())["tasks"]:
        assert time.monotonic() < deadline
    return dump


def test_an_epoll_of_a_runtime_is_none_of_the_program_s(tmp_path):
    segments = tmp_path / "segments"
    segments.mkdir()
    with running([program("waiters"), "10"], segments) as target:
        target.until("READY")
        target.attach()
        dump = target.dump()
        assert "epoll" not in {runtime["name"] for runtime in dump["runtimes"]}
        target.process.stdin.close()
        assert target.process.wait(PATIENCE) == 0
