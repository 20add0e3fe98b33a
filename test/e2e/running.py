"""Running the CLI with an environment and directories of its own."""

import contextlib
import os
import pathlib
import subprocess

import pytest
from conftest import CLI, PATIENCE

TARGET = ["/usr/bin/python3", str(pathlib.Path(__file__).with_name("signal_target.py"))]


@pytest.fixture
def env(tmp_path):
    directory = tmp_path / "segments"
    directory.mkdir(mode=0o700)
    home = tmp_path / "home"
    home.mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ASYNCTRACE_")}
    return {**clean, "ASYNCTRACE_DIR": str(directory), "HOME": str(home), "PS1": "shell> "}


def run(env, *arguments, **keywords):
    return subprocess.run(
        [CLI, "run", *map(str, arguments)], env=env, capture_output=True, timeout=PATIENCE, **keywords
    )


@contextlib.contextmanager
def silent_stdin():
    """Neither data nor an end."""
    read_end, write_end = os.pipe()
    try:
        yield read_end
    finally:
        os.close(read_end)
        os.close(write_end)


def files(env):
    return sorted(path.name for path in pathlib.Path(env["ASYNCTRACE_DIR"]).iterdir())


def is_gone(pid):
    return not os.path.exists(f"/proc/{pid}")
