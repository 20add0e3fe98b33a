"""A program on a terminal of its own: type at it, wait for what it prints. Every wait ends by itself."""

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time

PATIENCE = 60  # seconds until a step that should take milliseconds counts as hung


class PtySession:
    def __init__(self, command, env=None, cwd=None):
        self.master, terminal = pty.openpty()
        self.output = ""  # everything so far
        self.read_up_to = 0
        self.process = subprocess.Popen(
            [str(word) for word in command], env=env, cwd=cwd, stdin=terminal, stdout=terminal, stderr=terminal,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(terminal)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            # Job control shells put their jobs into groups of their own: hanging up ends them all.
            for pid in session_members(self.process.pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.process.wait(PATIENCE)
        os.close(self.master)

    def type(self, text):
        os.write(self.master, text.encode())

    def expect(self, pattern):
        """Waits until what was printed since the last match holds `pattern`; returns the match."""
        deadline = time.monotonic() + PATIENCE
        while True:
            match = re.compile(pattern).search(self.output, self.read_up_to)
            if match:
                self.read_up_to = match.end()
                return match
            assert self._read(deadline), f"no {pattern!r} in:\n{self.output}"

    def end(self):
        """Waits for the end; returns the exit status."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self.process.wait(PATIENCE)

    def _read(self, deadline):
        if not select.select([self.master], [], [], max(0, deadline - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:  # EIO: nobody holds the terminal any more
            return False
        self.output += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)


def session_members(session):
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getsid(int(name)) == session:
                yield int(name)
        except ProcessLookupError:
            pass


def wait_until(condition, what):
    """For facts that only /proc tells and nothing announces."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.005)
