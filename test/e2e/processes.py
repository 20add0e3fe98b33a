"""Programs with the agent in their environment and without, and what lies in their segment files."""

import contextlib
import os
import subprocess

from conftest import AGENT, PATIENCE


def environment(directory, *preload, **more):
    """Of a program with the agent, or (`directory` None) without; `preload`: further libraries."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ASYNCTRACE_", "LD_"))}
    libraries = [str(library) for library in preload]
    if directory is not None:
        env["ASYNCTRACE_DIR"] = str(directory)
        libraries = [str(AGENT), *libraries]
    if libraries:
        env["LD_PRELOAD"] = ":".join(libraries)
    return {**env, **more}


def run(command, env, **options):
    """To its end, with an empty stdin."""
    command = [str(word) for word in command]
    return subprocess.run(command, env=env, input="", capture_output=True, text=True, timeout=PATIENCE, **options)


@contextlib.contextmanager
def started(command, env, **options):
    """The pid of a program that has said READY and waits for the end of its stdin."""
    process = subprocess.Popen([str(word) for word in command], env=env, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True, **options)
    try:
        assert any(line.startswith("READY ") for line in process.stdout), "ended before READY"
        yield process.pid
        process.communicate("", timeout=PATIENCE)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def compile_c(tmp_path, name, source, *options):
    (tmp_path / f"{name}.c").write_text(source)
    output = tmp_path / name
    subprocess.run(["gcc", "-O1", "-Wall", "-Werror", "-o", output, tmp_path / f"{name}.c", *options], check=True)
    return output


def section_use(path):
    """How many items each section ever handed out, from the header as common/segment.hpp lays it out."""
    names = ["strings", "modules", "pollers", "threads", "tasks", "leaves", "stacks", "pcs", "labels",
             "native tasks", "watchers"]
    with open(path, "rb") as file:
        header = file.read(4096)
    return {name: int.from_bytes(header[184 + 24 * i:188 + 24 * i], "little") for i, name in enumerate(names)}
