"""asynctrace run: to the target and to the shell it is as if nobody stood between."""

import json
import os
import pathlib
import re
import signal
import subprocess

import pytest
from conftest import CLI, PATIENCE, program
from json_documents import documents
from pty_session import wait_until
from running import env, files, is_gone, run, silent_stdin  # noqa: F401 (env is a fixture)


@pytest.mark.parametrize("script, status", [
    ("exit 0", 0), ("exit 7", 7), ("exit 124", 124), ("kill -SEGV $$", 139), ("kill -KILL $$", 137),
])
def test_exit_status_is_the_targets(env, script, status):
    assert run(env, "--", "/bin/sh", "-c", script).returncode == status
    assert files(env) == []


def test_missing_and_unexecutable_commands(env, tmp_path):
    missing = run(env, "no-such-command")
    assert missing.returncode == 127 and b"no-such-command: command not found" in missing.stderr
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    refused = run(env, plain)
    assert refused.returncode == 126 and b"Permission denied" in refused.stderr
    plain.chmod(0o755)
    assert run(env, plain).returncode == 0
    assert run({**env, "PATH": f"{tmp_path}:/bin"}, "plain").returncode == 0
    plain.write_text("exit 3\n")  # neither ELF nor "#!": execvp's shell
    assert run(env, plain).returncode == 3
    plain.write_text("#!/no/such/interpreter\n")
    assert run(env, plain).returncode == 127


def test_the_commands_arguments_stay_as_they_are(env):
    words = ["-q", "--format", "json", "[a,b]", "{}", "", "--", "a b", "%e"]
    for separator in [[], ["--"]]:
        result = run(env, "-q", *separator, "/usr/bin/printf", r"%s\n", *words)
        assert result.stdout.decode().splitlines() == words


def test_stdio_is_the_targets(env):
    data = bytes(range(256)) * 4096
    result = run(env, "/bin/sh", "-c", "cat; echo problem >&2", input=data)
    assert (result.stdout, result.stderr, result.returncode) == (data, b"problem\n", 0)


def test_environment_and_descriptors(env):
    outside = subprocess.run(["/bin/ls", "/proc/self/fd"], env=env, capture_output=True, timeout=PATIENCE)
    assert run(env, "/bin/ls", "/proc/self/fd").stdout == outside.stdout
    result = run({**env, "LD_PRELOAD": "libm.so.6"}, "/usr/bin/env")
    variables = dict(line.partition("=")[::2] for line in result.stdout.decode().splitlines())
    assert variables["LD_PRELOAD"].startswith("libm.so.6:/")
    assert variables["ASYNCTRACE_MAX_SIZE"] == str(512 << 20)
    assert re.fullmatch("[0-9a-f]{16}", variables["ASYNCTRACE_RUN_ID"])


ORPHAN = """
import os, signal, sys
run = os.getppid()
if os.fork() == 0:
    if os.fork() == 0:
        while os.getppid() != run: pass
        os.write(1, f"orphan {os.getpid()}\\n".encode())
        signal.pause()
    os._exit(0)
os.wait()
os.write(1, b"READY\\n")
sys.exit(os.WEXITSTATUS(os.system("read line; exit $line")))
"""


def test_orphans_are_adopted_and_reaped(env):
    with subprocess.Popen([CLI, "run", "/usr/bin/python3", "-c", ORPHAN], env=env, text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        lines = [process.stdout.readline().split() for _ in range(2)]
        orphan = next(int(line[1]) for line in lines if line[0] == "orphan")
        os.kill(orphan, signal.SIGKILL)
        wait_until(lambda: is_gone(orphan), "the orphan is reaped")
        assert process.poll() is None
        process.communicate("9\n", timeout=PATIENCE)
        assert process.returncode == 9


STUBBORN = """
trap '' TERM
sh -c "trap '' TERM; echo child \\$\\$; while :; do read line <&3; done" 3<fifo &
(setsid sh -c "trap '' TERM; echo away \\$\\$; while :; do read line <&3; done" 3<fifo &)
echo target $$
while :; do read line <fifo; done
"""


def test_timeout_ends_the_whole_tree(env, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    # Held open, so that every reader blocks without a turn of the processor.
    holder = os.open(tmp_path / "fifo", os.O_RDWR)
    result = run(env, "--timeout", "500ms", "--kill-after", "300ms", "/bin/sh", "-c", STUBBORN, cwd=tmp_path)
    os.close(holder)
    assert result.returncode == 124
    assert b"ran into the time-out" in result.stderr
    pids = dict(line.split() for line in result.stdout.decode().splitlines())
    assert sorted(pids) == ["away", "child", "target"]
    assert all(is_gone(pid) for pid in pids.values())
    assert files(env) == []


def test_timeout_asks_first(env):
    script = "trap 'echo asked; exit 0' TERM; while :; do read line; done"
    with silent_stdin() as stdin:
        result = run(env, "--timeout", "300ms", "/bin/sh", "-c", script, stdin=stdin)
    assert (result.returncode, result.stdout) == (124, b"asked\n")


def test_an_agent_that_does_not_report_in(env):
    library = subprocess.run(["/usr/bin/gcc", "-shared", "-xc", "/dev/null", "-o", pathlib.Path(env["HOME"]) / "empty.so"])
    assert library.returncode == 0
    result = run({**env, "ASYNCTRACE_AGENT": env["HOME"] + "/empty.so"}, "/bin/sh", "-c", "exit 3")
    assert result.returncode == 125
    assert b"the agent did not report in: /bin/sh ended with status 3" in result.stderr
    assert b"remedy: " in result.stderr
    missing = run({**env, "ASYNCTRACE_AGENT": "/no/agent.so"}, "/bin/true")
    assert missing.returncode == 125 and b"/no/agent.so" in missing.stderr
    assert files(env) == []


def test_a_directory_that_is_not_ours_alone(env):
    os.chmod(env["ASYNCTRACE_DIR"], 0o755)
    result = run(env, "/bin/true")
    assert result.returncode == 125
    assert env["ASYNCTRACE_DIR"].encode() in result.stderr and b"0700" in result.stderr


def test_usage_errors(env):
    for arguments in [[], ["--no-such-option", "/bin/true"], ["--timeout", "soon", "/bin/true"],
                      ["--timeout", "0s", "/bin/true"], ["--format", "xml", "/bin/true"]]:
        result = run(env, *arguments)
        assert result.returncode == 125, arguments
        assert result.stderr.startswith(b"asynctrace: ") and b"run --help" in result.stderr


def test_flag_then_environment_then_configuration(env, tmp_path):
    """Each names a dump file; the one that is made tells who won."""
    config = pathlib.Path(env["HOME"]) / ".config"
    config.mkdir()
    (config / "asynctrace.toml").write_text(f'[run]\ndump-file = "{tmp_path}/configuration"\n')
    (tmp_path / "asynctrace.toml").write_text(f'[run]\ndump-file = "{tmp_path}/working-directory"\n')

    def made(env, *flags):
        assert run(env, *flags, "/bin/true", cwd=tmp_path).returncode == 0
        found = [name for name in ("flag", "environment", "configuration", "working-directory") if (tmp_path / name).exists()]
        for name in found:
            (tmp_path / name).unlink()
        return found

    with_variable = {**env, "ASYNCTRACE_DUMP_FILE": f"{tmp_path}/environment"}
    assert made(env) == ["configuration"]
    assert made(with_variable) == ["environment"]
    assert made(with_variable, "--dump-file", f"{tmp_path}/flag") == ["flag"]
    (config / "asynctrace.toml").write_text("[run]\nno-such-key = 1\n")
    assert b"no-such-key" in run(env, "/bin/true").stderr


def kept_file(stderr):
    lines = re.findall(r"^asynctrace: .*: (asynctrace dump (\S+))$", stderr, re.MULTILINE)
    assert len(lines) == 1, stderr
    return lines[0]


def test_timeout_dumps_and_keeps_the_segment(env):
    with silent_stdin() as stdin:
        result = run(env, "--timeout", "1s", "--format", "json", program("waiters"), "10", stdin=stdin)
    stderr = result.stderr.decode()
    assert result.returncode == 124, stderr
    dump = json.loads(stderr[stderr.index("{"):stderr.rindex("}") + 1])
    assert (dump["schema"], dump["reason"]) == ("asynctrace.dump/1", "timeout")
    assert dump["process"]["state"] == "running" and len(dump["tasks"]) > 10
    line, path = kept_file(stderr)
    assert files(env) == [pathlib.Path(path).name]
    again = subprocess.run(line.replace("asynctrace", str(CLI), 1) + " --format json", shell=True, env=env,
                           capture_output=True, timeout=PATIENCE)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["reason"] == "post-mortem"


def test_dump_after_every_and_output(env, tmp_path):
    """The target ends once two interval dumps are there, with 0; -o keeps the segment all the same."""
    dumps = tmp_path / "dumps"
    with subprocess.Popen(
        [CLI, "run", "--dump-after", "1ms", "--dump-every", "100ms", "--format=json", "--dump-file", dumps,
         "-o", tmp_path / "%e.%p.kept", program("waiters"), "10"],
        env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:
        pid = process.stdout.readline().split()[1]
        wait_until(lambda: dumps.exists() and len(documents(dumps.read_text())) >= 3, "three dumps")
        live = subprocess.run([CLI, "dump", pid], env=env, capture_output=True, timeout=PATIENCE)
        assert live.returncode == 0 and f"pid {pid}" in live.stdout.decode()
        process.communicate("", timeout=PATIENCE)
        assert process.returncode == 0
    reasons = [dump["reason"] for dump in documents(dumps.read_text())]
    assert reasons.count("interval") >= 2 and set(reasons) <= {"after", "interval"}
    assert (tmp_path / f"waiters.{pid}.kept").exists() and files(env) == []


def test_a_clean_end_leaves_nothing(env):
    result = run(env, program("waiters"), "10", input=b"")
    assert (result.returncode, result.stderr) == (0, b"")
    assert files(env) == []


def test_output_never_overwrites_something_else(env, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("not a segment")
    result = run(env, "-o", precious, "/bin/true")
    assert result.returncode == 125 and b"not overwritten" in result.stderr
    assert precious.read_text() == "not a segment"
