"""What other tools read: `export`, and dumps as JSON Lines."""

import json
import os
import subprocess

import pytest
from conftest import CLI, PATIENCE, ROOT, asynctrace, program, tasks, traced
from json_documents import Truncated, documents, from_lines
from test_ps_env_dump import skip_unless_alone
from test_schema import check

TASKS = 10


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "segments"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def dead(directory):
    """A segment that does not change any more, and an environment."""
    with traced(program("leaves"), segment_dir=directory) as target:
        return target.kill(), target.env


def stacks(folded):
    """stack -> count."""
    pairs = [line.rsplit(" ", 1) for line in folded.splitlines()]
    assert len({stack for stack, _ in pairs}) == len(pairs)
    return {stack: int(count) for stack, count in pairs}


def without_times(value):
    """Two readings of one segment differ in them: each knows the rate of its clock a little better."""
    if isinstance(value, dict):
        return {key: without_times(member) for key, member in value.items()
                if key not in ("captured_at", "capture_ms") and not key.endswith("_ns")}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def test_lines_say_what_the_document_says(dead):
    segment, env = dead
    (document,) = documents(asynctrace("dump", "--format=json", segment, env=env).stdout)
    text = asynctrace("dump", "--format=jsonl", segment, segment, env=env).stdout
    for dump in from_lines(text):
        check(dump)
        assert without_times(dump) == without_times(document)
    assert len(from_lines(text)) == 2
    for cut in (text.splitlines()[:-1], text.splitlines()[:len(text.splitlines()) // 3]):
        with pytest.raises(Truncated):
            from_lines("\n".join(cut))


def test_run_writes_lines(directory, tmp_path):
    dumps = tmp_path / "dumps"
    env = {**os.environ, "ASYNCTRACE_DIR": str(directory)}
    command = [CLI, "run", "-q", "--format=jsonl", f"--dump-file={dumps}", "--timeout=2s", "--", program("waiters"), "10"]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.wait(PATIENCE) == 124
    (dump,) = from_lines(dumps.read_text())
    check(dump)
    assert dump["reason"] == "timeout"


def test_folded_counts_every_waiting_task(directory):
    with traced(program("waiters"), TASKS, segment_dir=directory) as target:
        live = stacks(asynctrace("export", target.pid, env=target.env).stdout)
        segment = target.kill()
    (dump,) = documents(asynctrace("dump", "--format=json", segment, env=target.env).stdout)
    shown = stacks(asynctrace("export", segment, env=target.env).stdout)
    everything = stacks(asynctrace("export", "--frames=all", segment, env=target.env).stdout)
    # Each of its tasks has one leaf.
    waiting = [task for task in tasks(dump) if task["leaves"] and task["state"] != "running"]
    assert sum(shown.values()) == sum(everything.values()) == len(waiting)
    for counts in (live, shown):
        assert sorted(counts.values())[-2:] == [TASKS // 2] * 2
    assert max(map(len, everything)) > max(map(len, shown))


def test_folded_names_the_users_frames_and_the_leaf(dead):
    segment, env = dead
    text = asynctrace("export", segment, env=env).stdout
    assert text == asynctrace("export", "--format=folded", segment, env=env).stdout
    lines = list(stacks(text))
    assert lines == sorted(lines)
    for end in ("async fn leaves::io::tcp_read;TcpStream read", "async fn leaves::io::plain_sleep;sleep"):
        assert [line for line in lines if line.endswith(end)], end


def test_json_is_the_dump(dead):
    segment, env = dead
    exported = json.loads(asynctrace("export", "--format=json", segment, env=env).stdout)
    (dump,) = documents(asynctrace("dump", "--format=json", segment, env=env).stdout)
    assert without_times(exported) == without_times(dump)


def test_a_file_is_replaced_whole_or_not_at_all(dead, tmp_path):
    segment, env = dead
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    output = outputs / "stacks"
    text = asynctrace("export", segment, env=env).stdout
    for _ in range(2):
        result = asynctrace("export", "-o", output, segment, env=env)
        assert result.stdout == "" and output.read_text() == text
    assert output.stat().st_mode & 0o777 == 0o666 & ~current_umask()
    link = tmp_path / "link"
    link.symlink_to(output)
    asynctrace("export", "--format=json", "-o", link, segment, env=env)
    assert link.is_symlink() and json.loads(output.read_text())["schema"] == "asynctrace.dump/1"

    # No room for it, and none for the file: the old one stays, nothing else is left.
    before = output.read_bytes()
    limited = subprocess.run(["/bin/sh", "-c", 'trap "" XFSZ; ulimit -f 1; exec "$@"', "sh", CLI, "export", "--format=json",
                              "-o", output, segment], env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert limited.returncode == 1 and "could not be written" in limited.stderr
    assert output.read_bytes() == before and os.listdir(outputs) == ["stacks"]
    asynctrace("export", "-o", "/dev/null", segment, env=env)
    assert not os.path.isfile("/dev/null")


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_without_an_argument_it_is_the_only_live_one(directory):
    env = {**os.environ, "ASYNCTRACE_DIR": str(directory)}
    skip_unless_alone(env)
    nothing = asynctrace("export", env=env, check=False)
    assert nothing.returncode == 2 and "no traced process is running" in nothing.stderr and nothing.stdout == ""
    with traced(program("waiters"), TASKS, segment_dir=directory) as target:
        exported = json.loads(asynctrace("export", "--format=json", env=env).stdout)
        assert exported["process"]["pid"] == target.pid
        with traced(program("waiters"), TASKS, segment_dir=directory):
            several = asynctrace("export", env=env, check=False)
            assert several.returncode == 2 and "remedy: asynctrace export " in several.stderr


def test_what_cannot_be_exported(directory, tmp_path):
    env = {**os.environ, "ASYNCTRACE_DIR": str(directory)}
    noise = tmp_path / "noise.atrace"
    noise.write_bytes(bytes(range(256)) * 64)
    for arguments, code, message in [
        ([noise], 1, f"{noise}: not a segment file"),
        ([tmp_path / "missing"], 1, "there is no such file or process id"),
        ([noise, noise], 2, "more than one target"),
        (["--format=text", noise], 2, "not one of folded|json"),
        (["--no-such-option"], 2, "no such option"),
    ]:
        output = tmp_path / "output"
        result = asynctrace("export", "-o", output, *arguments, env=env, check=False)
        assert result.returncode == code and message in result.stderr and result.stdout == ""
        assert not output.exists()


def test_export_is_in_the_help_and_the_readme():
    assert "export" in asynctrace("--help").stdout
    assert "\n    asynctrace export " in (ROOT / "README.md").read_text()
