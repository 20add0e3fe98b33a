"""Where segments go and what happens when there is no place for them."""

import json
import os
import pathlib
import re
import signal
import subprocess

import pytest
from conftest import AGENT, CLI, PATIENCE, asynctrace, lacking, program
from pty_session import wait_until
from running import env, files, run  # noqa: F401 (env is a fixture)

SOMEONE_ELSE = 12345


def directory_of(env):
    return pathlib.Path(env["ASYNCTRACE_DIR"])


@pytest.fixture(params=["a symlink", "someone else's", "read-only"])
def unusable(request, env, tmp_path):
    if os.geteuid() != 0:
        lacking("root, to give a directory away")
    planted = tmp_path / "planted"
    if request.param == "a symlink":
        planted.symlink_to(directory_of(env))
    else:
        planted.mkdir(mode=0o700)
    if request.param == "someone else's":
        os.chown(planted, SOMEONE_ELSE, SOMEONE_ELSE)
    if request.param == "read-only":
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,mode=0700", "tmpfs", planted], capture_output=True)
        if mounted.returncode:
            lacking(f"a tmpfs: {mounted.stderr}")
    yield planted
    if request.param == "read-only":
        subprocess.run(["umount", planted], check=True)


def test_run_refuses_a_directory_that_is_not_ours(env, unusable):
    result = run({**env, "ASYNCTRACE_DIR": str(unusable)}, program("waiters"), "10", input=b"")
    assert result.returncode == 125 and str(unusable).encode() in result.stderr
    assert list(unusable.iterdir()) == []


def test_the_agent_leaves_it_alone_and_the_program_runs(env, unusable):
    result = subprocess.run([program("waiters"), "10"], input=b"", capture_output=True, timeout=PATIENCE,
                            env={**env, "ASYNCTRACE_DIR": str(unusable), "LD_PRELOAD": str(AGENT)})
    assert result.returncode == 0 and result.stdout.startswith(b"READY") and result.stderr == b""
    assert list(unusable.iterdir()) == []


def test_an_output_that_is_a_planted_symlink_is_not_followed(env, tmp_path):
    victim, output = tmp_path / "victim", tmp_path / "out.atrace"
    output.symlink_to(victim)
    refused = run(env, "-o", output, program("waiters"), "10", input=b"")
    assert refused.returncode == 125 and b"not overwritten" in refused.stderr
    result = subprocess.run([program("waiters"), "10"], input=b"", capture_output=True, timeout=PATIENCE,
                            env={**env, "ASYNCTRACE_OUTPUT": str(output), "LD_PRELOAD": str(AGENT)})
    pid = int(result.stdout.split()[1])
    assert result.returncode == 0 and not victim.exists() and output.is_symlink()
    beside, = set(tmp_path.glob("out.atrace*")) - {output}
    assert beside.name == f"out.atrace.{pid}"


def test_max_size_reached_is_counted_and_says_what_to_do(env, tmp_path):
    output = tmp_path / "small.atrace"
    assert run(env, "--max-size", "2M", "-o", output, program("waiters"), "30000", input=b"").returncode == 0
    assert output.stat().st_size <= 2 << 20
    found = json.loads(asynctrace("dump", "--format", "json", output, env=env).stdout)
    assert found["lost"]["tasks"] + found["lost"]["leaves"] > 0
    assert 1000 < len(found["tasks"]) < 30_000
    remedies = {note["remedy"] for note in found["diagnostics"] if note["code"] in ("lost_tasks", "lost_leaves")}
    assert remedies and all("--max-size" in remedy for remedy in remedies)


def rows(env):
    return [line.split() for line in asynctrace("ps", env=env).stdout.splitlines()]


@pytest.mark.parametrize("options", [[], ["--crash-stack"]], ids=["plain", "crash-stack"])
def test_the_target_survives_the_cli(env, options):
    with subprocess.Popen([CLI, "run", "-q", *options, "--", program("waiters"), "10"], env=env, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as command:
        pid = int(re.match(r"READY (\d+)", command.stdout.readline())[1])
        kept = {name for name in files(env) if name.endswith(".atrace")}
        command.kill()
        command.wait(PATIENCE)
        assert [str(pid), "running"] in [row[:2] for row in rows(env)]
        found = json.loads(asynctrace("dump", "--format", "json", str(pid), env=env).stdout)
        assert found["process"]["state"] == "running" and sum(task["kind"] == "task" for task in found["tasks"]) == 11
        command.stdin.close()
        wait_until(lambda: [str(pid), "exited"] in [row[:2] for row in rows(env)], "ended by itself")
    assert {name for name in files(env) if name.endswith(".atrace")} == kept and len(kept) == 1
    file, = kept
    assert json.loads(asynctrace("dump", "--format", "json", directory_of(env) / file, env=env).stdout)["process"][
        "state"] == "exited"


def test_the_cli_is_killed_while_it_keeps_or_writes(env, tmp_path):
    """What a killed `run` leaves reads like any other file, whatever it was about to do with it."""
    with subprocess.Popen([CLI, "run", "-q", "--dump-every", "1ms", "--dump-file", tmp_path / "dumps", "--",
                           program("waiters"), "100"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as command:
        pid = int(command.stdout.readline().split()[1])
        wait_until(lambda: (tmp_path / "dumps").stat().st_size > 0, "a dump")
        os.kill(pid, signal.SIGKILL)
        command.kill()
        command.wait(PATIENCE)
        command.stdin.close()
    file, = [name for name in files(env) if name.endswith(".atrace")]
    found = json.loads(asynctrace("dump", "--format", "json", directory_of(env) / file, env=env).stdout)
    assert found["process"]["state"] in ("unknown", "killed")
    assert sum(task["kind"] == "task" for task in found["tasks"]) == 101
