"""C++20 coroutines: the logical chain of each task, whatever is on the stack."""

import os
import pathlib
import re
import subprocess
import textwrap
import time

import pytest
from conftest import AGENT, BUILD, CLI, PATIENCE, ROOT, asynctrace, traced

SYS_PAUSE = 34  # x86-64


def native(name):
    path = BUILD / "test" / "targets" / "native" / name
    assert path.exists(), f"{path} is not built"
    return path


def user_lines(dump, stack):
    frames = [dump["frames"][index] for index in dump["stacks"][stack]]
    return [frame["line"] for frame in frames if (frame["file"] or "").endswith("/coroutines.cpp")]


@pytest.mark.parametrize("build", ["coroutines", "coroutines_debug"])
def test_every_task_shows_who_awaits_whom(tmp_path, build):
    with traced(native(build), segment_dir=tmp_path) as target:
        expected = {}
        for rest in target.words("LEAF"):
            name, kind, *lines = rest.split(" ")
            expected[name] = (kind.replace("-", " "), [int(line) for line in lines])
        dump = target.dump()
        text = asynctrace("dump", target.pid, env=target.env).stdout
    assert dump["runtimes"][0]["name"] == "single_thread"
    tasks = {task["name"]: task for task in dump["tasks"]}
    found = {}
    for name, task in tasks.items():
        assert len(task["leaves"]) == 1 and task["leaves"][0]["confirmed"]
        found[name] = (task["leaves"][0]["kind"], user_lines(dump, task["leaves"][0]["stack"]))
    assert found == expected, "the tasks that have ended are gone, the others stand where they await"
    assert tasks["clerk"]["woken_by"] is None or tasks["clerk"]["polls"] > 1
    assert "╼ shop::report() at " in text and "\n  └╼ shop::query(int) at " in text
    assert dump["lost"] == {"leaves": 0, "tasks": 0, "stacks": 0, "watchers": 0}


def indented(text):
    """Blocks of code."""
    return [textwrap.dedent(block).strip("\n") + "\n" for block in re.findall(r"(?:^(?:    .*)?\n)+", text, re.MULTILINE)
            if block.strip()]


def test_the_program_of_the_readme(tmp_path):
    """As it stands there, with the traces that stand below it."""
    section = (ROOT / "README.md").read_text().split("## C and C++ runtimes")[1].split("\n## ")[0]
    source, shown = indented(section)
    (tmp_path / "shop.cpp").write_text(source)
    flags = ["-std=c++20", "-g", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/common/include"]
    subprocess.run(["g++", *flags, "shop.cpp", "-o", "shop"], cwd=tmp_path, check=True)
    segments = tmp_path / "segments"
    segments.mkdir(mode=0o700)
    env = {**os.environ, "ASYNCTRACE_DIR": str(segments), "LD_PRELOAD": str(AGENT)}
    process = subprocess.Popen([tmp_path / "shop"], env=env)
    try:
        waits = pathlib.Path(f"/proc/{process.pid}/syscall")
        deadline = time.monotonic() + PATIENCE
        while waits.read_text().split()[0] != str(SYS_PAUSE):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        # Paths below the working directory are shown relative to it.
        text = subprocess.run([CLI, "dump", str(process.pid)], env={**os.environ, "ASYNCTRACE_DIR": str(segments)},
                              cwd=tmp_path, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    finally:
        process.kill()
        process.wait()
    assert [line for line in text.splitlines() if "╼" in line] == shown.splitlines()[1:]
