"""run --hang, --timeout and a run whose processes are killed: which await, at which line."""

import json
import os
import pathlib
import re
import signal
import subprocess
import threading

import pytest
from conftest import CLI, PATIENCE, asynctrace, program, user_place
from json_documents import documents
from pty_session import wait_until
from running import env, files, is_gone, run, silent_stdin  # noqa: F401 (env is a fixture)

HANGS = program("hangs")


class Run:
    """A run whose target has printed READY; dumps go to a file."""

    def __init__(self, env, tmp_path, *words, dumps="dumps"):
        self.dumps = tmp_path / dumps
        self.process = subprocess.Popen(
            [CLI, "run", "--dump-file", self.dumps, "--format", "json", *map(str, words)], env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        self.watchdog = threading.Timer(PATIENCE, lambda: os.killpg(self.process.pid, signal.SIGKILL))
        self.watchdog.start()
        self.truth = {}
        self.pids = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.watchdog.cancel()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def wait_until_ready(self, programs=1):
        for line in self.process.stdout:
            word, _, rest = line.rstrip("\n").partition(" ")
            if word == "LEAF":
                place, kind = rest.split(" ", 1)
                self.truth[kind] = place
            elif word == "READY":
                self.pids.append(int(rest))
                if len(self.pids) == programs:
                    return
        pytest.fail("ended before READY")

    def read_dumps(self):
        return documents(self.dumps.read_text()) if self.dumps.exists() else []

    def end(self, input=None):
        """Exit status and stderr, after the end of the target's stdin."""
        _, stderr = self.process.communicate(input, timeout=PATIENCE)
        return self.process.returncode, stderr


def waiting_places(document):
    return {user_place(document, leaf["stack"]) for task in document["tasks"] for leaf in task["leaves"] if leaf["confirmed"]}


def test_a_hang_is_dumped_once_and_the_program_goes_on(env, tmp_path):
    with Run(env, tmp_path, "--hang", "300ms", HANGS, "never_sent") as running:
        running.wait_until_ready()
        wait_until(lambda: running.read_dumps(), "a dump")
        # Two more times that long, by the target's own clock: nothing new hangs.
        first = running.read_dumps()[0]
        age = lambda: max(task["in_state_ns"] for task in json.loads(
            asynctrace("dump", "--format", "json", running.pids[0], env=env).stdout)["tasks"])
        wait_until(lambda: age() > 1_200_000_000, "it waited for long")
        assert [dump["reason"] for dump in running.read_dumps()] == ["hang"]
        assert waiting_places(first) >= {running.truth["mpsc recv"], running.truth["Notify"]}
        status, stderr = running.end("")
    assert status == 0
    hangs = re.findall(r"^asynctrace: hangs \(pid (\d+)\) hangs: (\d+) tasks? inside", stderr, re.MULTILINE)
    assert len(hangs) == 1 and int(hangs[0][0]) == running.pids[0] and int(hangs[0][1]) == 3


@pytest.mark.parametrize("scenario", ["healthy_accept", "healthy_interval", "healthy_ctrl_c"])
def test_waiting_for_the_outside_is_no_hang(env, tmp_path, scenario):
    with Run(env, tmp_path, "--hang", "200ms", HANGS, scenario) as running:
        running.wait_until_ready()
        created = lambda: max(task["created_ns"] for task in json.loads(
            asynctrace("dump", "--format", "json", running.pids[0], env=env).stdout)["tasks"])
        wait_until(lambda: created() > 1_000_000_000, "it ran for long")
        assert running.read_dumps() == []
        assert running.end("") == (0, "")


def test_on_hang_kill(env, tmp_path):
    with Run(env, tmp_path, "--hang", "300ms", "--on-hang", "kill", "/bin/sh", "-c", f"{HANGS} join_cycle; exit 3") as running:
        running.wait_until_ready()
        running.process.wait(PATIENCE)
        dumps = running.read_dumps()
        _, stderr = running.process.communicate()
    assert running.process.returncode == 124
    assert [dump["reason"] for dump in dumps] == ["hang"]
    assert [suspect["kind"] for suspect in dumps[0]["suspects"]] == ["deadlock"]
    assert is_gone(running.pids[0])
    assert re.search(r"hangs: \d+ tasks? inside", stderr)


def test_timeout_dumps_every_process_of_a_tree(env, tmp_path):
    script = f"{HANGS} never_sent < fifo & {HANGS} lost_wake < fifo & (exec {HANGS} join_cycle < fifo) & wait"
    os.mkfifo(tmp_path / "fifo")
    holder = os.open(tmp_path / "fifo", os.O_RDWR)
    with silent_stdin() as stdin:
        result = run(env, "--timeout", "3s", "--kill-after", "1s", "--format", "json", "--dump-file", tmp_path / "dumps",
                     "/bin/sh", "-c", script, stdin=stdin, cwd=tmp_path)
    os.close(holder)
    assert result.returncode == 124
    pids = {int(line.split()[1]) for line in result.stdout.decode().splitlines() if line.startswith("READY")}
    dumps = [dump for dump in documents((tmp_path / "dumps").read_text()) if dump["reason"] == "timeout"]
    assert len(pids) == 3 and {dump["process"]["pid"] for dump in dumps} == pids
    kinds = sorted(tuple(suspect["kind"] for suspect in dump["suspects"]) for dump in dumps)
    assert kinds == [(), ("deadlock",), ("no_waker", "no_waker", "waits_on_suspect")]


@pytest.mark.parametrize("options", [[], ["--report", "text"]], ids=["dump", "report"])
def test_a_timeout_without_suspects_names_who_waits_longest(env, options):
    with silent_stdin() as stdin:
        result = run(env, "--timeout", "2s", *options, HANGS, "never_sent", stdin=stdin)
    places = {row.split()[2]: row.split()[1] for row in result.stdout.decode().splitlines() if row.startswith("LEAF")}
    (remark,) = re.findall(r"^no suspects; waiting longest inside: (.*)$", result.stderr.decode(), re.MULTILINE)
    assert places["mpsc"] in remark and "mpsc recv" in remark
    # block_on's own future comes last, whatever its age.
    assert re.search(r"; block_on, thread \d+ \(task \d+\), \S+, waiting for Notify at \S+hangs.rs:\d+:\d+$", remark), remark


def test_a_timeout_with_suspects_needs_no_remark(env):
    with silent_stdin() as stdin:
        result = run(env, "--timeout", "2s", HANGS, "join_cycle", stdin=stdin)
    assert b"no suspects" not in result.stderr and b"1. deadlock, 2 tasks" in result.stderr


@pytest.mark.parametrize("tree", [False, True])
def test_a_killed_process_is_shown_at_once(env, tmp_path, tree):
    # A killed child is shown while its parent, which reaps it, still runs.
    script = f"{HANGS} oom_standin < {tmp_path}/fifo; read line; exit 3"
    os.mkfifo(tmp_path / "fifo")
    holder = os.open(tmp_path / "fifo", os.O_RDWR)
    with Run(env, tmp_path, *(["/bin/sh", "-c", script] if tree else [HANGS, "oom_standin"])) as running:
        running.wait_until_ready()
        if tree:
            os.write(holder, b"now\n")
            wait_until(lambda: running.read_dumps(), "its dump")
            assert running.process.poll() is None
        # The end of its stdin would end the program before it is killed.
        running.process.stdin.write("now\n")
        running.process.stdin.flush()
        status = running.process.wait(PATIENCE)
        _, stderr = running.end()
    os.close(holder)
    assert status == (3 if tree else 137)
    (dump,) = running.read_dumps()
    assert dump["reason"] == "post-mortem" and dump["process"]["pid"] == running.pids[0]
    assert dump["process"]["state"] == "killed"
    assert running.truth["mpsc recv"] in waiting_places(dump)
    (again,) = re.findall(r"asynctrace dump (\S+\.atrace)$", stderr, re.MULTILINE)
    later = json.loads(asynctrace("dump", "--format", "json", again).stdout)
    assert waiting_places(later) == waiting_places(dump)


def test_an_orphan_is_shown_while_the_run_goes_on(env, tmp_path):
    """Its parent is gone, so run itself reaps it."""
    os.mkfifo(tmp_path / "fifo")
    holder = os.open(tmp_path / "fifo", os.O_RDWR)
    script = f"({HANGS} oom_standin < {tmp_path}/fifo &); read line"
    with Run(env, tmp_path, "/bin/sh", "-c", script) as running:
        running.wait_until_ready()
        os.write(holder, b"now\n")
        wait_until(lambda: running.read_dumps(), "its dump")
        assert running.process.poll() is None
        (dump,) = running.read_dumps()
        assert dump["process"]["state"] == "killed" and dump["process"]["pid"] == running.pids[0]
        status, _ = running.end("\n")
    os.close(holder)
    assert status == 0 and len(running.read_dumps()) == 1
