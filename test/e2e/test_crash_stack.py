"""What `run --crash-stack` must not change: the target is traced by ptrace, and goes on as without."""

import contextlib
import os
import pathlib
import signal
import subprocess

import pytest
import test_run
import test_run_signals
from conftest import CLI, PATIENCE, program
from pty_session import wait_until
from running import TARGET, env, run, silent_stdin  # noqa: F401 (env is a fixture)


def test_forks_execs_and_threads_go_on(env):
    script = "(exec true); for i in 1 2 3; do /bin/true & done; wait; /bin/kill -USR1 $$; exit 9"
    result = run(env, "--crash-stack", "/bin/bash", "-c", f"trap 'echo trapped' USR1; {script}")
    assert (result.returncode, result.stdout, result.stderr) == (9, b"trapped\n", b"")
    spawn = ("import os, subprocess, threading\n"
             "subprocess.run(['/bin/true'], check=True)\n"
             "os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)\n"
             "threads = [threading.Thread(target=os.getpid) for _ in range(50)]\n"
             "[t.start() for t in threads]; [t.join() for t in threads]\n"
             "os.execv('/bin/sh', ['sh', '-c', 'exit 7'])")
    assert run(env, "--crash-stack", "/usr/bin/python3", "-c", spawn).returncode == 7


@pytest.mark.parametrize("how, shown", [("sleep", "std::thread::sleep  [native stack]"),
                                        ("spin", "stack unknown: it runs under --crash-stack")])
def test_a_blocked_thread(env, how, shown):
    """What sleeps is read as it lies; what runs has a tracer already."""
    with silent_stdin() as stdin:
        result = run(env, "--crash-stack", "--timeout", "2s", program("hangs"), "blocked", "multi", how, stdin=stdin)
    suspects = result.stderr.decode().partition("SUSPECTS")[2].partition("INSIDE")[0]
    assert result.returncode == 124 and suspects.rstrip().endswith(f"╼ {shown}"), result.stderr.decode()


@contextlib.contextmanager
def started(env, *arguments):
    with subprocess.Popen([CLI, "run", "-q", "--crash-stack", "--", *TARGET, *arguments], env=env, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, int(process.stdout.readline().split()[1])
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def state(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_stops_stay_stops(env):
    with started(env, "SIGUSR1", "SIGCONT") as (process, pid):
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: state(pid) == "t", "stopped")
        os.kill(pid, signal.SIGUSR1)
        os.kill(pid, signal.SIGCONT)
        assert {process.stdout.readline(), process.stdout.readline()} == {"got SIGCONT 1\n", "got SIGUSR1 1\n"}
        process.stdin.write("4\n")
        process.stdin.flush()
        assert process.wait(PATIENCE) == 4


def test_the_target_outlives_a_killed_run(env):
    with started(env, "SIGUSR1") as (process, pid):
        process.kill()
        process.wait(PATIENCE)
        wait_until(lambda: "TracerPid:\t0" in pathlib.Path(f"/proc/{pid}/status").read_text(), "let go of")
        os.kill(pid, signal.SIGUSR1)
        assert process.stdout.readline() == "got SIGUSR1 1\n"
        process.stdin.write("0\n")
        process.stdin.flush()
        assert process.stdout.readline() == "SIGUSR1=1\n"


TRACED = {"ASYNCTRACE_CRASH_STACK": "true"}


@pytest.mark.parametrize("clean", [False, True])
def test_job_control(env, clean):
    test_run_signals.test_ctrl_z_and_fg({**env, **TRACED}, clean)


def test_keys_and_signals(env):
    test_run_signals.test_ctrl_c_reaches_the_target_once_and_run_waits({**env, **TRACED})
    test_run_signals.test_ctrl_c_ends_a_target_that_does_not_handle_it({**env, **TRACED})
    test_run_signals.test_continuing_run_continues_the_target({**env, **TRACED})
    test_run_signals.test_signals_of_processes_are_forwarded({**env, **TRACED}, "SIGTERM")


def test_orphans_and_timeouts(env, tmp_path):
    test_run.test_orphans_are_adopted_and_reaped({**env, **TRACED})
    test_run.test_timeout_ends_the_whole_tree({**env, **TRACED}, tmp_path)
