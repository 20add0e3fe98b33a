"""Whatever the agent lacks, the program runs on; what could not be recorded is counted."""

import contextlib
import json
import os
import re
import resource
import signal
import subprocess

import pytest
from conftest import PATIENCE, asynctrace, lacking, program
from processes import compile_c, environment, run, section_use, started

@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "segments"
    path.mkdir(mode=0o700)
    return path


@contextlib.contextmanager
def small_file_system(directory, options):
    """A tmpfs of our own on `directory`."""
    if os.geteuid() != 0:
        lacking("root, to mount a tmpfs")
    command = ["mount", "-t", "tmpfs", "-o", f"mode=0700,{options}", "tmpfs", str(directory)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        lacking(f"a tmpfs: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def limit(which, value):
    return lambda: resource.setrlimit(which, (value, value))


def dump(what, env):
    return json.loads(asynctrace("dump", "--format", "json", what, env=env).stdout)


@pytest.mark.parametrize("where", ["read-only", "too small", "missing", "a file", "others may read"])
def test_a_directory_that_cannot_be_used(directory, where):
    with contextlib.ExitStack() as stack:
        used = directory
        if where in ("read-only", "too small"):
            options = {"read-only": "ro,size=16m", "too small": "size=1m"}[where]
            stack.enter_context(small_file_system(directory, options))
        elif where == "missing":
            used = directory / "not" / "there"
        elif where == "a file":
            used = directory / "file"
            used.touch()
        else:
            directory.chmod(0o755)
        env = environment(used)
        result = run([program("waiters"), 2000], env)
        assert result.returncode == 0 and result.stdout.startswith("READY") and result.stderr == ""
        assert not list(directory.glob("**/*.atrace"))


def test_a_program_that_uses_libunwind_itself_is_left_alone(directory):
    """Its copy would be ours as well, and ours is changed."""
    env = environment(directory)
    env["LD_PRELOAD"] = f"libunwind.so.8 {env['LD_PRELOAD']}"
    result = run([program("waiters"), 2000], env)
    assert result.returncode == 0 and "READY" in result.stdout
    assert not list(directory.iterdir())


# A thousand tasks take some 200 KiB.
@pytest.mark.parametrize("tasks", [1000, 60_000])
def test_a_full_file_system_is_a_counted_loss(directory, tasks):
    with small_file_system(directory, "size=5m"):
        env = environment(directory)
        with started([program("waiters"), tasks], env) as pid:
            found = dump(pid, env)
            file = next(directory.glob("*.atrace"))
            assert file.stat().st_blocks * 512 <= 5 << 20
        seen = sum(task["kind"] == "task" for task in found["tasks"])
        if tasks == 1000:
            assert seen > tasks and found["lost"] == {"leaves": 0, "tasks": 0, "stacks": 0, "watchers": 0}
        else:
            assert 1000 < seen < tasks
            assert found["lost"]["tasks"] + found["lost"]["leaves"] > 0
            assert {"lost_tasks", "lost_leaves"} & {entry["code"] for entry in found["diagnostics"]}
        assert dump(file, env)["tasks"]


RESERVATIONS = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned long count;

int madvise(void* address, size_t size, int advice) {
  __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
  return syscall(SYS_madvise, address, size, advice);
}

__attribute__((destructor)) static void tell(void) {
  char text[64];
  int length = snprintf(text, sizeof text, "RESERVATIONS %lu\n", count);
  if (write(1, text, length) != length) _exit(1);
}
"""


def test_a_full_file_system_does_not_make_every_poll_a_system_call(tmp_path, directory):
    counter = compile_c(tmp_path, "counter.so", RESERVATIONS, "-shared", "-fPIC")
    with small_file_system(directory, "size=5m"):
        result = run([program("waiters"), 60_000], environment(directory, counter))
        assert result.returncode == 0
        assert section_use(next(directory.glob("*.atrace")))["tasks"] < 60_000
    assert 10 < int(re.search(r"^RESERVATIONS (\d+)$", result.stdout, re.MULTILINE)[1]) < 500


@pytest.mark.parametrize("bytes_, traced", [(4096, False), (1 << 20, True), (2 << 20, True), (64 << 20, True)])
def test_file_size_limit(directory, bytes_, traced):
    """Writing past RLIMIT_FSIZE raises SIGXFSZ, which kills."""
    env = environment(directory)
    with started([program("waiters"), 20_000], env, preexec_fn=limit(resource.RLIMIT_FSIZE, bytes_)) as pid:
        files = list(directory.glob("*.atrace"))
        assert bool(files) == traced
        if traced:
            assert files[0].stat().st_size <= bytes_
            found = dump(pid, env)
            lost = found["lost"]["tasks"] + found["lost"]["leaves"]
            assert found["tasks"] and (lost > 0) == (bytes_ < 64 << 20)


@pytest.mark.parametrize("megabytes", [48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096])
def test_address_space_limit(directory, megabytes):
    """As of ulimit -v: the program runs with the agent wherever it runs without."""
    command = [program("survivor"), "steady", 100]
    restrict = limit(resource.RLIMIT_AS, megabytes << 20)
    without = run(command, environment(None), preexec_fn=restrict)
    with_agent = run(command, environment(directory), preexec_fn=restrict)
    assert (with_agent.returncode, with_agent.stdout) == (without.returncode, without.stdout), with_agent.stderr
    for file in directory.glob("*.atrace"):
        dump(file, environment(directory))


def test_no_descriptors_to_be_had(directory):
    for count in (3, 4, 5):
        restrict = limit(resource.RLIMIT_NOFILE, count)
        without = run(["/bin/true"], environment(None), preexec_fn=restrict)
        with_agent = run(["/bin/true"], environment(directory), preexec_fn=restrict)
        assert with_agent.returncode == without.returncode
    for count in (10, 11, 12, 13, 14, 16, 20):
        restrict = limit(resource.RLIMIT_NOFILE, count)
        results = [run([program("waiters"), 10], env, preexec_fn=restrict).returncode
                   for env in (environment(None), environment(directory))]
        assert results[0] == results[1]


def test_killed_at_any_moment_it_leaves_a_file_that_reads(directory, quick):
    """The moment is told by how far its file has come."""
    env = environment(directory)
    complete = 0
    for goal in range(0, 4000, 400 if quick else 100):
        process = subprocess.Popen([program("waiters"), "4000"], env=env, stdin=subprocess.PIPE,
                                   stdout=subprocess.DEVNULL)
        file = None
        while process.poll() is None:
            file = file or next(directory.glob(f"*.{process.pid}.*.atrace"), None)
            if file and section_use(file)["leaves"] >= goal:
                break
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(PATIENCE) == -signal.SIGKILL
        process.stdin.close()
        result = asynctrace("dump", "--format", "json", file, env=env, check=False)
        if result.returncode == 0:
            complete += 1
            found = json.loads(result.stdout)
            assert found["process"]["pid"] == process.pid
            assert sum(len(task["leaves"]) for task in found["tasks"]) >= goal * 9 // 10 - 64
        else:
            assert goal == 0 and "creation was cut short" in result.stderr
        file.unlink()
    assert complete > 5
