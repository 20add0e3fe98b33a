"""A program with the agent inside behaves as it does without."""

import collections
import json
import os
import pathlib
import re
import subprocess

import pytest
from agent_binary import dynamic_symbols
from conftest import AGENT, PATIENCE, asynctrace, program
from processes import compile_c, environment, run, section_use, started


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "segments"
    path.mkdir(mode=0o700)
    return path


# What it prints and how it ends.

PROGRAMS = [
    ("leaves", ["multi"]), ("leaves", ["current"]), ("cancelled", ["multi"]), ("waiters", ["100", "multi"]),
    ("pingpong", ["1000"]), ("polls_async_std", []), ("polls_hyper", ["multi"]),
    ("survivor", ["descriptors"]), ("survivor", ["errno"]), ("survivor", ["panics"]),
    ("survivor", ["processes"]), ("survivor", ["loader-lock"]), ("survivor", ["signals"]),
    ("survivor", ["threads", "8"]), ("survivor", ["steady", "100"]),
    ("forks", ["fork"]), ("forks", ["exec"]), ("forks", ["wait"]),
]


def without_measurements(text):
    """Pids, ports, times and counts of polls differ from run to run; tasks get stuck in any order."""
    text = re.sub(r"^(READY|CHILD|FORKING|EXECING|PORT|POLLS|NS_PER_ROUND) .*$", r"\1", text, flags=re.MULTILINE)
    return sorted(text.splitlines())


@pytest.mark.parametrize("name, arguments", PROGRAMS)
def test_output_and_exit_code(directory, name, arguments):
    command = [program(name), *arguments]
    without = run(command, environment(None))
    with_agent = run(command, environment(directory))
    assert without.returncode == 0 and without.stdout
    assert with_agent.returncode == 0, with_agent.stderr
    assert without_measurements(with_agent.stdout) == without_measurements(without.stdout)
    assert with_agent.stderr == without.stderr
    assert list(directory.glob(f"{name}.*.atrace")) or name == "polls_async_std", "the agent was not there"


def test_a_server_under_load(directory):
    serve = subprocess.Popen([program("echo"), "serve", "4"], env=environment(directory), stdout=subprocess.PIPE,
                             text=True)
    port = serve.stdout.readline().split()[1]
    assert run([program("echo"), "load", port, 4, 500], environment(directory)).returncode == 0
    out, _ = serve.communicate(timeout=PATIENCE)
    assert serve.returncode == 0
    assert "REQUESTS 2000" in out.splitlines()


def test_failure_is_passed_on(directory):
    for env in (environment(None), environment(directory)):
        result = run([program("survivor"), "no such mode"], env)
        assert result.returncode == 101 and "survivor.rs" in result.stderr


def test_its_environment(directory):
    env = environment(directory, EXTRA="a b")
    printed = run([program("survivor"), "environment"], env).stdout.splitlines()
    assert printed == [f"VARIABLE {name}={value}" for name, value in sorted(env.items())] + ["OK"]


# What the kernel knows of it.

def descriptors(pid):
    """What they refer to, without the numbers of this very pipe or socket. Threads may open theirs in any order."""
    table = pathlib.Path(f"/proc/{pid}/fd")
    return collections.Counter(re.sub(r"\[\d+\]|#\d+", "", os.readlink(link)) for link in table.iterdir())


def signals(pid):
    """What its main thread blocks, and what the process does with each signal."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return re.findall(r"^(SigBlk|SigIgn|SigCgt):\s+(.*)$", status, re.MULTILINE)


@pytest.mark.parametrize("look", [descriptors, signals])
@pytest.mark.parametrize("name, arguments", [("waiters", ["10", "multi"]), ("leaves", ["current"]),
                                             ("survivor", ["threads", "4"])])
def test_descriptors_and_signals(directory, look, name, arguments):
    found = []
    for env in (environment(None), environment(directory)):
        with started([program(name), *arguments], env) as pid:
            found.append(look(pid))
    assert found[0] == found[1]
    assert list(directory.glob("*.atrace")), "the agent was not there"


# What the dynamic loader binds.

BINDING = re.compile(r"binding file (\S+) \[0\] to (\S+) \[0\]: \w+ symbol `([^']+)'")


def bindings(command, env):
    """(by whom, name) -> whose, base names."""
    log = run(command, {**env, "LD_DEBUG": "bindings", "LD_BIND_NOW": "1"}).stderr
    return {(os.path.basename(by), name): os.path.basename(whose) for by, whose, name in BINDING.findall(log)}


def test_bindings(directory):
    command = [program("waiters"), 10]
    without = bindings(command, environment(None))
    with_agent = bindings(command, environment(directory))
    own = {AGENT.name, "libunwind.so.8"}
    interposed = dynamic_symbols("--defined-only")
    assert ("waiters", "_Unwind_Backtrace") in without
    changed = {key for key in without if with_agent.get(key) != without[key]}
    assert {name for _, name in changed} <= interposed and ("waiters", "epoll_wait") in changed
    assert {with_agent[key] for key in changed} == {AGENT.name}
    assert any(by == "libunwind.so.8" for by, _ in with_agent), "libunwind was not there"
    assert not {key for key, whose in with_agent.items() if whose == "libunwind.so.8" and key[0] not in own}


# Memory.

COUNTER = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <stddef.h>
#include <unistd.h>

extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);
static unsigned long count;

void* malloc(size_t n) { __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED); return __libc_malloc(n); }
void* calloc(size_t n, size_t m) { __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED); return __libc_calloc(n, m); }
void* realloc(void* p, size_t n) { __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED); return __libc_realloc(p, n); }
int posix_memalign(void** p, size_t a, size_t n) {
  __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
  return (*p = __libc_memalign(a, n)) ? 0 : 12;
}

__attribute__((destructor)) static void tell(void) {
  char text[64];
  int length = snprintf(text, sizeof text, "ALLOCATIONS %lu\n", count);
  if (write(1, text, length) != length) _exit(1);
}
"""


def test_no_allocations_beside_those_of_the_program(tmp_path, directory):
    counter = compile_c(tmp_path, "counter.so", COUNTER, "-shared", "-fPIC")

    def allocations(turns, where):
        out = run([program("survivor"), "steady", turns], environment(where, counter)).stdout
        return int(re.search(r"^ALLOCATIONS (\d+)$", out, re.MULTILINE)[1])

    without = allocations(100, None)
    assert without > 0
    assert allocations(20_000, None) == without
    assert allocations(20_000, directory) == allocations(100, directory)
    # Loading libunwind takes some, once.
    assert allocations(100, directory) <= without + 100


def test_a_program_without_a_runtime_keeps_no_file(tmp_path, directory):
    plain = compile_c(tmp_path, "plain", '#include <stdio.h>\nint main(void) { return puts("hello") < 0; }\n')
    result = run([plain], environment(directory))
    assert (result.returncode, result.stdout) == (0, "hello\n")
    assert run(["/bin/sh", "-c", "ls / > /dev/null; exit 7"], environment(directory)).returncode == 7
    assert list(directory.iterdir()) == []


def test_programs_that_a_traced_one_starts_keep_no_file(directory):
    assert run([program("survivor"), "processes"], environment(directory)).stdout == "OK\n"
    assert len(list(directory.iterdir())) == 1


def test_threads_come_and_go(directory, quick):
    count = 400 if quick else 10_000
    env = environment(directory)
    with started([program("survivor"), "threads", count], env) as pid:
        lost = json.loads(asynctrace("dump", "--format", "json", pid, env=env).stdout)["lost"]
        sections = section_use(next(directory.glob("*.atrace")))
    assert set(lost.values()) == {0}
    # Four threads at a time; a record is handed out again once its thread is seen to be gone.
    assert 4 <= sections["threads"] <= 128
    assert sections["tasks"] <= 4096 and sections["leaves"] <= 4096
