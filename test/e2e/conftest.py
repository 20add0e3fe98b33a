"""Runs the programs of test/targets under the agent and reads their dumps. Every wait ends by itself."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import threading
import time
from collections import Counter

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("ASYNCTRACE_BUILD", "build")
CLI = pathlib.Path(os.environ.get("ASYNCTRACE_CLI", BUILD / "cli" / "asynctrace"))
AGENT = BUILD / "agent" / "libasynctrace-agent.so"
PATIENCE = 60  # seconds until a step that should take milliseconds counts as hung


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="fewer repetitions")


@pytest.fixture
def quick(request):
    return request.config.getoption("--quick")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Neither reads nor leaves symbols in the user's cache."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


def lacking(what):
    """A privilege or kernel feature is missing: CI must have it, other machines may not."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, which CI must have")
    pytest.skip(what)


def program(name, profile="release", toolchain="debian"):
    path = BUILD / "targets" / toolchain / {"release": "release", "dev": "debug"}[profile] / name
    if not path.exists():
        if toolchain == "second":
            pytest.skip("no second Rust toolchain in PATH")
        pytest.fail(f"{path} is not built")
    return path


def asynctrace(*arguments, env=None, check=True):
    result = subprocess.run([CLI, *map(str, arguments)], env=env, capture_output=True, text=True, timeout=PATIENCE)
    if check:
        assert result.returncode == 0, f"asynctrace {arguments}: {result.returncode}\n{result.stderr}"
    return result


class Target:
    """A program that has printed READY: its pid, and the lines that it printed before."""

    def __init__(self, process, segment_dir):
        self.process = process
        self.segment_dir = segment_dir
        self.env = {**os.environ, "ASYNCTRACE_DIR": str(segment_dir)}
        self.lines = []
        for line in process.stdout:
            word, _, rest = line.rstrip("\n").partition(" ")
            if word == "READY":
                self.pid = int(rest)
                return
            self.lines.append((word, rest))
        pytest.fail(f"{process.args}: ended before READY, or took more than {PATIENCE} s")

    def words(self, first):
        return [rest for word, rest in self.lines if word == first]

    def leaves(self):
        """The truth: how many leaves wait at each (file, line)."""
        return Counter(rest.split(" ")[0] for rest in self.words("LEAF"))

    def dump(self):
        return json.loads(asynctrace("dump", "--format", "json", self.pid, env=self.env).stdout)

    def segment(self):
        files = list(self.segment_dir.glob("*.atrace"))
        assert len(files) == 1, files
        return files[0]

    def kill(self):
        """SIGKILL; returns the segment file that stays."""
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        return self.segment()


def kill_group(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def traced(path, *arguments, segment_dir, by="run"):
    """`by`: through `asynctrace run`; with the agent's variables alone, as in a systemd unit; `nobody`: not at all."""
    command = [str(path), *map(str, arguments)]
    env = {**os.environ, "ASYNCTRACE_DIR": str(segment_dir)}
    segment_dir.chmod(0o700)
    if by == "run":
        command = [str(CLI), "run", "-q", "--", *command]
    elif by != "nobody":
        env["LD_PRELOAD"] = str(AGENT)
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    watchdog = threading.Timer(PATIENCE, kill_group, [process])
    watchdog.start()
    try:
        target = Target(process, segment_dir)
        watchdog.cancel()
        yield target
        process.stdin.close()  # the programs end at the end of stdin
    finally:
        watchdog.cancel()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE if process.stdin.closed else 0)
        kill_group(process)
        process.wait()
        process.stdin.close()
        process.stdout.close()


def user_place(dump, stack):
    """`file:line` of the innermost frame that is the program's own; how the stack ends where there is none."""
    frames = [dump["frames"][index] for index in dump["stacks"][stack]] if stack is not None else []
    own = [frame for frame in frames if frame["class"] == "user"]
    if not own:
        return "no user frame: " + " > ".join(frame["function"] for frame in frames)
    file = own[-1]["file"] or "?"
    return f"{file[file.rfind('src/'):]}:{own[-1]['line']}"


def tasks(dump):
    """The program's tasks, without the runtime's own worker loops and blocking closures."""
    return [task for task in dump["tasks"] if task["kind"] in ("task", "block_on")]


def settled(target):
    """A dump between two polls: a task says that it is stuck a moment before its poll has returned."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        dump = target.dump()
        if all(task["state"] == "waiting" for task in tasks(dump)):
            return dump
    pytest.fail("some task never stops running")


def confirmed_places(dump):
    return Counter(
        user_place(dump, leaf["stack"]) for task in tasks(dump) for leaf in task["leaves"] if leaf["confirmed"]
    )


def differences(expected, found):
    """Of two counters; empty if they are equal."""
    missing = [f"missing: {place} x {n}" for place, n in (expected - found).items()]
    return sorted(missing + [f"too many: {place} x {n}" for place, n in (found - expected).items()])
