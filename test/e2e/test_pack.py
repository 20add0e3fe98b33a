"""Packed files are read like the segment they were made of, anywhere, without the program; and segments themselves are
read elsewhere with what belongs to their build-ids."""

import json
import os
import pathlib
import shutil
import struct
import subprocess

import pytest
from conftest import CLI, PATIENCE, asynctrace, program, traced
from pty_session import wait_until
from test_schema import check

MAGIC = b"ATPACK\n\x1a"
FORMS = [("dump",), ("dump", "--all", "--frames=all"), ("dump", "--format=json"), ("dump", "--format=jsonl"),
         ("export",), ("export", "--format=json")]


@pytest.fixture
def elsewhere(tmp_path):
    """The segment of a dead program; the program, which can be taken away; an environment."""
    directory = tmp_path / "segments"
    directory.mkdir(mode=0o700)
    app = tmp_path / "app"
    shutil.copy(program("waiters"), app)
    with traced(app, 10, segment_dir=directory) as target:
        # Until then each reading knows the rate of its clock a little better.
        wait_until(lambda: clock_span(target.segment()) >= 100_000_000, "readings of the clock that are far apart")
        segment = target.kill()
    return segment, app, {**target.env, "XDG_CACHE_HOME": str(tmp_path / "cache")}


def clock_span(segment):
    """Nanoseconds between the two readings in its header, as common/segment.hpp lays them out."""
    with open(segment, "rb") as file:
        _, _, _, ns0, _, ns1 = struct.unpack_from("<IIQQQQ", file.read(4096), 112)
    return ns1 - ns0


def lines(text):
    """But for when and how fast it was read."""
    return [line for line in text.splitlines() if '"captured_at"' not in line and '"capture_ms"' not in line
            and "   read in " not in line]


def outputs(file, env, *options):
    return [lines(asynctrace(*form, *options, file, env=env).stdout) for form in FORMS]


def functions(dump):
    return {frame["function"] for frame in dump["frames"]}


def json_of(file, env, *options):
    dump = json.loads(asynctrace("dump", "--format=json", *options, file, env=env).stdout)
    check(dump)
    return dump


def codes(dump):
    return [diagnostic["code"] for diagnostic in dump["diagnostics"]]


def test_a_packed_file_reads_like_the_segment(elsewhere, tmp_path):
    segment, app, env = elsewhere
    packed = tmp_path / "job"
    before = outputs(segment, env)
    asynctrace("pack", segment, "-o", packed, env=env)
    assert packed.read_bytes().startswith(MAGIC)
    app.unlink()
    segment.unlink()
    assert outputs(packed, env) == before
    assert "async fn waiters::wait_for_sleep" in functions(json_of(packed, env))
    # A packed file is packed again, and listed, like any.
    again = pathlib.Path(env["ASYNCTRACE_DIR"]) / "again.atrace"
    asynctrace("pack", packed, "-o", again, env=env)
    assert outputs(again, env) == before
    assert str(again) in asynctrace("ps", env=env).stdout


def test_run_packs_what_stays(tmp_path):
    output = tmp_path / "job.atrace"
    command = [CLI, "run", "-q", "--pack", "-o", output, "--timeout=1s", "--", program("waiters"), "10"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        stderr = process.stderr.read()
        assert process.wait(PATIENCE) == 124
    assert f"asynctrace dump {output}" in stderr
    assert output.read_bytes().startswith(MAGIC) and output.stat().st_mode & 0o777 == 0o600
    dump = json_of(output, os.environ)
    assert dump["process"]["state"] == "killed" and not dump["durations_at_least"]
    assert "async fn waiters::wait_for_sleep" in functions(dump)


def test_what_is_missing_stays_missing(elsewhere, tmp_path):
    segment, app, env = elsewhere
    app.unlink()
    gone = json_of(segment, env)
    assert "file_gone" in codes(gone)
    asynctrace("pack", segment, "-o", tmp_path / "gone", env=env)
    shutil.copy(program("leaves"), app)
    other = json_of(segment, env)
    assert "build_id_differs" in codes(other)
    asynctrace("pack", segment, "-o", tmp_path / "other", env=env)
    shutil.copy(program("waiters"), app)
    for name, dump in (("gone", gone), ("other", other)):
        assert json_of(tmp_path / name, env)["diagnostics"] == dump["diagnostics"]


def test_what_cannot_be_packed(elsewhere, tmp_path):
    segment, _, env = elsewhere
    noise = tmp_path / "noise"
    noise.write_bytes(bytes(range(256)) * 64)
    output = tmp_path / "output"
    for arguments, code, message in [
        ([noise], 1, f"{noise}: not a segment file"),
        ([], 2, "one segment file is to be given"),
        ([segment, segment], 2, "one segment file is to be given"),
        ([segment, "--debug-dir", tmp_path / "missing"], 2, "does not exist"),
    ]:
        result = asynctrace("pack", "-o", output, *arguments, env=env, check=False)
        assert result.returncode == code and message in result.stderr and not output.exists()
    assert asynctrace("pack", segment, env=env, check=False).returncode == 2
    with traced(program("waiters"), 10, segment_dir=pathlib.Path(env["ASYNCTRACE_DIR"])) as target:
        live = asynctrace("pack", target.pid, "-o", output, env=env, check=False)
        assert live.returncode == 1 and "still writes to it" in live.stderr and "remedy" in live.stderr
    damaged = bytearray(MAGIC + bytes(100))
    noise.write_bytes(damaged)
    result = asynctrace("dump", noise, env=env, check=False)
    assert result.returncode == 1 and "damaged" in result.stderr and "remedy" in result.stderr


def split(app, directory):
    """Into what stays and the rest, which has the same build-id."""
    debug = directory / "anything"
    directory.mkdir()
    subprocess.run(["objcopy", "--only-keep-debug", app, debug], check=True)
    return debug


def test_segments_are_read_elsewhere(elsewhere, tmp_path):
    segment, app, env = elsewhere
    before = outputs(segment, env)
    debug = split(app, tmp_path / "debug")
    root = tmp_path / "root"
    below = root / app.relative_to("/")
    below.parent.mkdir(parents=True)
    app.rename(below)
    assert outputs(segment, env) != before
    assert outputs(segment, env, "--debug-dir", debug.parent, "--debug-dir", tmp_path) == before
    # There are no libraries in it.
    assert outputs(segment, env, "--sysroot", root)[0] == before[0]
    assert outputs(segment, {**env, "ASYNCTRACE_DEBUG_DIR": str(debug.parent)})[0] == before[0]
    asynctrace("pack", segment, "-o", tmp_path / "packed", "--debug-dir", debug.parent, env=env)
    shutil.copy(program("leaves"), debug)
    assert "file_gone" in codes(json_of(segment, env, "--debug-dir", debug.parent))
    assert outputs(tmp_path / "packed", env) == before


def test_the_cache_changes_nothing(elsewhere, tmp_path):
    segment, _, env = elsewhere
    cache = tmp_path / "cache" / "asynctrace"
    without = outputs(segment, env, "--no-cache")
    assert not cache.exists()
    for _ in range(2):
        assert outputs(segment, env) == without
    if cache.exists():  # a small program may be too quick to be worth it
        for file in cache.iterdir():
            file.write_bytes(file.read_bytes()[:-1])
    assert outputs(segment, env) == without
    # It is of no use where it would cost more than it saves, nor where it cannot be.
    broken = {**env, "XDG_CACHE_HOME": "/dev/null"}
    assert outputs(segment, broken) == without
