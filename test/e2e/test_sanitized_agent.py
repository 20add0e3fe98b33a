"""The agent itself, built so that undefined behaviour traps: it must never come to that."""

import os
import subprocess

import pytest
from conftest import BUILD, CLI, PATIENCE, confirmed_places, differences, program, traced

AGENT = BUILD / "sanitized" / "agent" / "libasynctrace-agent.so"
PROGRAMS = [
    ["leaves", "multi"],
    ["leaves", "current"],
    ["leaves_async_std"],
    ["cancelled", "multi"],
    ["ended", "multi", "after"],
    ["executors", "thread_pool"],
    ["executors", "block_on"],
    ["nested", "tokio"],
]


@pytest.fixture
def sanitized(monkeypatch, quick):
    if quick:
        pytest.skip("--quick does not build it")
    assert AGENT.exists(), "not built"
    monkeypatch.setenv("ASYNCTRACE_AGENT", str(AGENT))


def test_it_traps(sanitized):
    code = subprocess.run(["/usr/bin/objdump", "-d", AGENT], check=True, capture_output=True, text=True).stdout
    assert code.count("\tud2") > 100


@pytest.mark.parametrize("name, arguments", [(words[0], words[1:]) for words in PROGRAMS])
def test_programs_survive_and_are_shown(sanitized, tmp_path, name, arguments):
    with traced(program(name), *arguments, segment_dir=tmp_path) as target:
        expected = target.leaves()
        dump = target.dump()
    assert target.process.returncode == 0
    assert any(module["path"] == str(AGENT) for module in dump["modules"])
    of_tasks = [{**task, "kind": "task"} for task in dump["tasks"] if task["kind"] != "worker"]
    assert not differences(expected, confirmed_places({**dump, "tasks": of_tasks}))


@pytest.mark.parametrize("arguments", [["panics"], ["signals"], ["threads", "4"], ["steady", "100"]])
def test_what_hurts_an_agent(sanitized, tmp_path, arguments):
    directory = tmp_path / "segments"
    directory.mkdir(mode=0o700)
    environment = {**os.environ, "ASYNCTRACE_DIR": str(directory)}
    command = [CLI, "run", "-q", "-o", tmp_path / "kept.atrace", "--", program("survivor"), *arguments]
    result = subprocess.run(command, env=environment, input="", capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "kept.atrace").exists(), "the agent was not there"
