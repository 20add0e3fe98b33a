"""asynctrace run on a terminal: keys, signals and job control work as if nobody stood between."""

import os
import pathlib
import re
import signal
import subprocess

import pytest
from conftest import CLI, PATIENCE, program
from pty_session import PtySession, wait_until
from running import TARGET, env  # noqa: F401 (env is a fixture)


def test_signals_start_as_they_were(env):
    def masks(command):
        status = subprocess.run([*command, "/bin/grep", "^Sig[BIC]", "/proc/self/status"], env=env,
                                capture_output=True, timeout=PATIENCE).stdout.decode()
        return {name: int(mask, 16) for name, mask in re.findall(r"(Sig...):\s*([0-9a-f]+)", status)}

    sigquit = 1 << (signal.SIGQUIT - 1)
    plain = masks([])
    traced = masks([CLI, "run"])
    assert traced == {**plain, "SigIgn": plain["SigIgn"] | sigquit}
    assert masks([CLI, "run", "--quit-key=off"]) == plain


def test_the_first_line(env):
    with PtySession([CLI, "run", *TARGET], env=env) as session:
        line = session.expect(r"asynctrace: tracing /usr/bin/python3 \(pid (\d+)\)\. (.*)\n")
        assert line[2] == f"Ctrl-\\ shows its tasks; or: asynctrace dump {line[1]}"
        assert session.expect(r"READY (\d+)")[1] == line[1]
        session.type("0\n")
        assert session.end() == 0
    with PtySession([CLI, "run", "-q", *TARGET], env=env) as session:
        session.expect("READY")
        session.type("0\n")
        assert session.end() == 0
        assert "asynctrace" not in session.output


def test_ctrl_c_reaches_the_target_once_and_run_waits(env):
    with PtySession([CLI, "run", *TARGET, "SIGINT"], env=env) as session:
        session.expect("READY")
        session.type("\x03")
        session.expect("got SIGINT 1")
        session.type("\x03")
        session.expect("got SIGINT 2")
        session.type("5\n")
        session.expect("SIGINT=2\n")
        assert session.end() == 5


def test_ctrl_c_ends_a_target_that_does_not_handle_it(env):
    with PtySession([CLI, "run", "/bin/sh", "-c", "echo READY; exec cat"], env=env) as session:
        session.expect("READY\n")
        session.type("\x03")
        assert session.end() == 130


def test_quit_key_dumps_and_the_target_goes_on(env):
    with PtySession([CLI, "run", *TARGET], env=env) as session:
        pid = session.expect(r"READY (\d+)")[1]
        for _ in range(2):
            session.type("\x1c")
            session.expect(rf"asynctrace: no tasks to show: no async runtime has been found in .*\(pid {pid}\)")
        session.type("4\n")
        session.expect("no signals")
        assert session.end() == 4


def test_quit_key_and_a_handler_of_the_target(env):
    with PtySession([CLI, "run", *TARGET, "SIGQUIT"], env=env) as session:
        session.expect("READY")
        session.type("\x1c")
        session.expect("got SIGQUIT 1")
        session.type("0\n")
        assert session.end() == 0
        assert "no tasks to show" in session.output


def test_quit_key_off(env):
    with PtySession([CLI, "run", "--quit-key=off", *TARGET], env=env) as session:
        session.expect("READY")
        session.type("\x1c")
        assert session.end() == 128 + signal.SIGQUIT
        assert "no tasks to show" not in session.output


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT", "SIGUSR1", "SIGUSR2"])
def test_signals_of_processes_are_forwarded(env, name):
    with PtySession([CLI, "run", *TARGET, name], env=env) as session:
        session.expect("READY")
        os.kill(session.process.pid, getattr(signal, name))
        session.expect(f"got {name} 1")
        session.type("6\n")
        session.expect(f"{name}=1\n")
        assert session.end() == 6


def test_quit_from_a_process_dumps(env):
    with PtySession([CLI, "run", *TARGET, "SIGQUIT"], env=env) as session:
        session.expect("READY")
        os.kill(session.process.pid, signal.SIGQUIT)
        session.expect("no tasks to show")
        session.type("0\n")
        session.expect("no signals")
        assert session.end() == 0


@pytest.mark.parametrize("clean", [False, True])
def test_ctrl_z_and_fg(env, clean):
    with PtySession(["/bin/bash", "--norc", "--noediting", "-i"], env=env) as session:
        session.expect("shell> ")
        session.type(f"{CLI} run {' '.join(TARGET)} SIGINT {'stop-cleanly' if clean else 'SIGCONT'}\n")
        session.expect("READY")
        for _ in range(2):
            session.type("\x1a")
            if clean:
                session.expect("screen restored")
            session.expect("Stopped")
            session.expect("shell> ")
            session.type("fg\n")
            session.expect("continued" if clean else "got SIGCONT")
            session.type("\x03")
            session.expect("got SIGINT")
        session.type("3\n")
        session.expect("SIGINT=2")
        session.type("echo status $?\n")
        session.expect("status 3\n")
        session.type("exit\n")
        assert session.end() == 0


def test_continuing_run_continues_the_target(env):
    """As a debugger or a script does it, without a shell's group-wide SIGCONT."""
    with PtySession(["/bin/bash", "--norc", "--noediting", "-i"], env=env) as session:
        session.expect("shell> ")
        session.type(f"{CLI} run {' '.join(TARGET)} SIGCONT\n")
        pid = session.expect(r"READY (\d+)")[1]
        session.type("\x1a")
        session.expect("Stopped")
        supervisor = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        os.kill(int(supervisor), signal.SIGCONT)
        session.expect("got SIGCONT 1")


def test_a_stop_by_a_process_does_not_stop_run(env):
    with PtySession([CLI, "run", *TARGET, "SIGUSR1"], env=env) as session:
        pid = int(session.expect(r"READY (\d+)")[1])
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", "stopped")
        session.type("\x1c")
        session.expect("no tasks to show")
        os.kill(pid, signal.SIGCONT)
        os.kill(session.process.pid, signal.SIGUSR1)
        session.expect("got SIGUSR1 1")
        session.type("0\n")
        assert session.end() == 0


def test_quit_key_shows_the_tasks(env):
    with PtySession([CLI, "run", program("waiters"), "10"], env=env) as session:
        pid = session.expect(r"READY (\d+)")[1]
        session.type("\x1c")
        session.expect(rf"waiters pid {pid} +tokio")
        session.expect(r"\n(INSIDE|OUTSIDE) ")
        os.kill(int(pid), signal.SIGKILL)
        session.expect(r"asynctrace dump \S+\.atrace")
        assert session.end() == 137
