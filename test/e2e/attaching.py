"""Programs that run without the agent until a test attaches it."""

import contextlib
import functools
import json
import os
import subprocess
import threading

from conftest import BUILD, PATIENCE, asynctrace, kill_group, lacking

BUSY = BUILD / "test" / "targets" / "native" / "busy"


@functools.cache
def need_ptrace():
    with subprocess.Popen(["sleep", "infinity"]) as process:
        try:
            refused = asynctrace("attach", process.pid, check=False).stderr
        finally:
            process.kill()
    if "not permitted" in refused or "ptrace_scope" in refused:
        lacking("asynctrace may not trace a process that it did not start")


class Running:
    """A program that has been started alone; its stdin and stdout are the test's."""

    def __init__(self, command, directory, env, patience):
        need_ptrace()
        directory.chmod(0o700)
        self.env = {**(env or os.environ), "ASYNCTRACE_DIR": str(directory)}
        self.process = subprocess.Popen([str(word) for word in command], env=env, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.pid = self.process.pid
        self.watchdog = threading.Timer(patience, kill_group, [self.process])
        self.watchdog.start()

    def until(self, word):
        """The lines before the one that begins with `word`, and what that one says."""
        before = []
        for line in self.process.stdout:
            first, _, rest = line.rstrip("\n").partition(" ")
            if first == word:
                return before, rest
            before.append((first, rest))
        raise AssertionError(f"{self.process.args}: ended before {word}, or took too long")

    def tell(self, line=""):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def asynctrace(self, *arguments, check=True):
        return asynctrace(*arguments, env=self.env, check=check)

    def attach(self):
        return self.asynctrace("attach", self.pid)

    def detach(self):
        return self.asynctrace("detach", self.pid)

    def dump(self):
        return json.loads(self.asynctrace("dump", "--format", "json", self.pid).stdout)

    def end(self):
        """Ends it by the end of its stdin, as if nothing had been; returns what it had to say."""
        output, _ = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, f"{self.process.args}: {self.process.returncode}"
        return dict(line.split(" ", 1) for line in output.splitlines())

    def still_runs(self):
        return self.process.poll() is None


@contextlib.contextmanager
def running(command, directory, env=None, patience=PATIENCE):
    program = Running(command, directory, env, patience)
    try:
        yield program
    finally:
        program.watchdog.cancel()
        kill_group(program.process)
        program.process.wait()
        program.process.stdin.close()
        program.process.stdout.close()


@contextlib.contextmanager
def busy(how, directory, threads=2):
    with running([BUSY, how, threads], directory) as program:
        program.until("READY")
        yield program


def mapped(pid):
    """Kilobytes of memory that a process uses, and how many mappings it has."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        used = next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    with open(f"/proc/{pid}/maps") as file:
        return used, sum(1 for _ in file)
