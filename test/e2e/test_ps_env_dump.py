"""dump, ps and env: finding traced processes, alive and dead, and loading the agent without `run`."""

import contextlib
import os
import re
import signal
import subprocess

import pytest
from conftest import CLI, PATIENCE, asynctrace, program, traced
from json_documents import documents
from pty_session import PtySession


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "segments"
    path.mkdir(mode=0o700)
    return path


def shows(pid, text):
    return re.match(rf"waiters pid {pid}\b", text)


def rows(env, targets):
    """pid -> state, of those lines of `asynctrace ps` that are about `targets`."""
    lines = asynctrace("ps", env=env).stdout.splitlines()
    assert lines[0].split() == ["PID", "STATE", "AGE", "PROGRAM", "FILE"]
    states = {int(line.split()[0]): line.split()[1] for line in lines[1:]}
    return {target.pid: states[target.pid] for target in targets if target.pid in states}


def skip_unless_alone(env):
    """Without an argument `dump` takes any process of this user."""
    running = [line for line in asynctrace("ps", env=env).stdout.splitlines() if line.split()[1] == "running"]
    if running:
        pytest.skip(f"somebody else's traced process is running: {running[0]}")


def test_dump_by_pid_option_file_and_none(directory):
    with traced(program("waiters"), 10, segment_dir=directory) as target:
        for arguments in ([target.pid], ["-p", target.pid], [target.segment()]):
            text = asynctrace("dump", *arguments, env=target.env).stdout
            assert shows(target.pid, text)
        both = asynctrace("dump", "--format=json", target.pid, target.segment(), env=target.env).stdout
        dumps = documents(both)
        assert [dump["process"]["pid"] for dump in dumps] == [target.pid] * 2
        assert {dump["reason"] for dump in dumps} == {"request"}


def test_a_renamed_or_deleted_segment_is_found(directory, tmp_path):
    with traced(program("waiters"), 10, segment_dir=directory) as target:
        target.segment().rename(tmp_path / "elsewhere")
        assert shows(target.pid, asynctrace("dump", target.pid, env=target.env).stdout)
        (tmp_path / "elsewhere").unlink()
        if os.geteuid() == 0:
            assert shows(target.pid, asynctrace("dump", target.pid, env=target.env).stdout)
            assert rows(target.env, [target])[target.pid] == "running"
        else:
            assert "as root" in asynctrace("dump", target.pid, env=target.env, check=False).stderr


def test_dump_without_an_argument(directory):
    env = {**os.environ, "ASYNCTRACE_DIR": str(directory)}
    skip_unless_alone(env)
    assert asynctrace("dump", env=env, check=False).returncode == 2
    with contextlib.ExitStack() as stack:
        targets = [stack.enter_context(traced(program("waiters"), 10, segment_dir=directory)) for _ in range(2)]
        result = asynctrace("dump", env=env, check=False)
        assert result.returncode == 2 and result.stdout == ""
        assert all(f"  {target.pid}  " in result.stderr for target in targets)
        text = asynctrace("dump", *(target.pid for target in targets), env=env).stdout
        assert re.findall(r"^waiters pid (\d+)\b", text, re.MULTILINE) == [str(target.pid) for target in targets]
        targets[0].process.stdin.close()
        targets[0].process.wait(PATIENCE)
        assert shows(targets[1].pid, asynctrace("dump", env=env).stdout)


def test_what_cannot_be_dumped(directory, tmp_path):
    env = {**os.environ, "ASYNCTRACE_DIR": str(directory)}
    untraced = asynctrace("dump", os.getpid(), env=env, check=False)
    assert untraced.returncode == 1
    assert f"process {os.getpid()}" in untraced.stderr and "no async runtime" in untraced.stderr
    assert "remedy: a runtime is known by" in untraced.stderr and untraced.stdout == ""
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    result = asynctrace("dump", gone.pid, env=env, check=False)
    assert result.returncode == 1 and f"process {gone.pid} is gone" in result.stderr
    noise = tmp_path / "noise.atrace"
    noise.write_bytes(os.urandom(10000))
    for path in (noise, tmp_path / "missing", tmp_path):
        result = asynctrace("dump", path, env=env, check=False)
        assert result.returncode == 1 and str(path) in result.stderr and result.stdout == ""
    assert asynctrace("dump", "--no-such-option", env=env, check=False).returncode == 2
    assert asynctrace("no-such-verb", env=env, check=False).returncode == 2


def test_a_dump_that_cannot_be_written(directory):
    with traced(program("waiters"), 10, segment_dir=directory) as target, open("/dev/full", "w") as full:
        result = subprocess.run([CLI, "dump", str(target.pid)], env=target.env, stdout=full, stderr=subprocess.PIPE,
                                text=True, timeout=PATIENCE)
    assert result.returncode == 1 and "could not be written" in result.stderr


def test_the_dead_and_prune(directory):
    with contextlib.ExitStack() as stack:
        targets = [stack.enter_context(traced(program("waiters"), 10, segment_dir=directory, by="environment"))
                   for _ in range(4)]
        env = targets[0].env
        dead = targets[:3]
        for target in dead:
            os.kill(target.pid, signal.SIGKILL)
            target.process.wait(PATIENCE)
        states = rows(env, targets)
        assert states == {**{target.pid: "ended" for target in dead}, targets[3].pid: "running"}
        for number, target in enumerate(dead):
            segment = next(directory.glob(f"*.{target.pid}.*"))
            os.utime(segment, (number + 1, number + 1))
        assert shows(dead[0].pid, asynctrace("dump", dead[0].pid, env=env).stdout)
        asynctrace("ps", "--prune", "--keep", 1, env=env)
        assert set(rows(env, targets)) == {dead[2].pid, targets[3].pid}
        asynctrace("ps", "--prune", env=env)
        assert set(rows(env, targets)) == {targets[3].pid}
        assert asynctrace("ps", "--keep", 1, env=env, check=False).returncode == 2


def test_colour(directory):
    with traced(program("waiters"), 10, segment_dir=directory) as target:
        plain = {name: value for name, value in target.env.items() if name != "NO_COLOR"}
        assert "\x1b[" not in asynctrace("dump", target.pid, env=plain).stdout
        assert "\x1b[" in asynctrace("dump", "--color=always", target.pid, env=plain).stdout
        for env, options, coloured in [(plain, [], True), ({**plain, "NO_COLOR": "1"}, [], False),
                                       (plain, ["--color=never"], False),
                                       ({**plain, "NO_COLOR": "1"}, ["--color=always"], True)]:
            with PtySession([CLI, "dump", *options, target.pid], env=env) as session:
                assert session.end() == 0
                assert ("\x1b[" in session.output) == coloured


def test_env_for_a_shell_loads_the_agent(directory):
    env = {**os.environ, "ASYNCTRACE_DIR": str(directory)}
    script = f'eval "$({CLI} env --max-size 64M)"; exec {program("waiters")} 10'
    with subprocess.Popen(["/bin/sh", "-c", script], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:
        pid = process.stdout.readline().split()[1]
        assert shows(pid, asynctrace("dump", pid, env=env).stdout)
        process.communicate("", timeout=PATIENCE)


def test_env_formats(tmp_path):
    agent = tmp_path / "agent.so"
    agent.touch()
    segments = tmp_path / "it's here"
    segments.mkdir(mode=0o700)
    env = {"ASYNCTRACE_AGENT": str(agent), "ASYNCTRACE_DIR": str(segments), "PATH": os.environ["PATH"]}
    options = ["--max-size=64M", "--follow=none", "-o", "/var/%e.$p.atrace"]

    def lines(form):
        return asynctrace("env", f"--format={form}", *options, env=env).stdout

    quoted = str(segments).replace("'", "'\\''")
    assert lines("shell") == (
        f"export LD_PRELOAD={agent}\n"
        f"export ASYNCTRACE_DIR='{quoted}'\n"
        "export ASYNCTRACE_OUTPUT='/var/%e.$p.atrace'\n"
        "export ASYNCTRACE_MAX_SIZE=67108864\n"
        "export ASYNCTRACE_FOLLOW=none\n"
    )
    assert lines("systemd") == (
        "[Service]\n"
        f'Environment="LD_PRELOAD={agent}"\n'
        'Environment="ASYNCTRACE_OUTPUT=/var/%%e.$p.atrace"\n'
        'Environment="ASYNCTRACE_MAX_SIZE=67108864"\n'
        'Environment="ASYNCTRACE_FOLLOW=none"\n'
        'Environment="ASYNCTRACE_DIR=%t/asynctrace-%N"\n'
        "RuntimeDirectory=asynctrace-%N\n"
        "RuntimeDirectoryMode=0700\n"
        "RuntimeDirectoryPreserve=yes\n"
    )
    assert lines("docker") == (
        f"# The image must hold the agent: copy {agent} into the build context.\n"
        f"COPY agent.so {agent}\n"
        f'ENV LD_PRELOAD="{agent}"\n'
        'ENV ASYNCTRACE_OUTPUT="/var/%e.\\$p.atrace"\n'
        'ENV ASYNCTRACE_MAX_SIZE="67108864"\n'
        'ENV ASYNCTRACE_FOLLOW="none"\n'
    )
    assert lines("kubernetes") == (
        f"# The image must hold the agent as {agent}.\n"
        "env:\n"
        f'  - name: LD_PRELOAD\n    value: "{agent}"\n'
        '  - name: ASYNCTRACE_OUTPUT\n    value: "/var/%e.$$p.atrace"\n'
        '  - name: ASYNCTRACE_MAX_SIZE\n    value: "67108864"\n'
        '  - name: ASYNCTRACE_FOLLOW\n    value: "none"\n'
    )
    spaced = tmp_path / "a b.so"
    spaced.touch()
    refused = asynctrace("env", env={**env, "ASYNCTRACE_AGENT": str(spaced)}, check=False)
    assert refused.returncode == 125 and "LD_PRELOAD cannot carry" in refused.stderr


def test_version_and_help():
    assert re.fullmatch(r"asynctrace \d+\.\d+\.\d+\n", asynctrace("--version").stdout)
    for verb in ([], ["run"], ["dump"], ["ps"], ["env"]):
        result = asynctrace(*verb, "--help")
        assert "asynctrace" in result.stdout and "Example" in result.stdout and result.stderr == ""
    nothing = asynctrace(check=False)
    assert nothing.returncode == 2 and nothing.stdout == "" and "--help" in nothing.stderr


def test_the_configuration_file_is_checked(tmp_path):
    config = tmp_path / ".config"
    config.mkdir()
    (config / "asynctrace.toml").write_text('[dump]\ncolor = "purple"\n')
    result = asynctrace("ps", env={**os.environ, "HOME": str(tmp_path)}, check=False)
    assert result.returncode == 2 and "purple" in result.stderr
