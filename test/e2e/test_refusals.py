"""A target that the agent cannot enter is an error before it starts: with the reason, and with a remedy."""

import os
import pathlib
import shutil
import struct
import subprocess

import pytest
from conftest import AGENT, CLI, PATIENCE, lacking

PROGRAM = "int main(void) { return 42; }\n"
BARE = "void _start(void) { for (;;) {} }\n"
NOBODY = 65534


def compile_c(path, *flags, source=PROGRAM):
    subprocess.run(["/usr/bin/gcc", "-xc", "-", "-o", path, *flags], input=source.encode(), check=True, timeout=PATIENCE)
    return path


def run(*command, directory, **variables):
    directory = directory / "segments"
    directory.mkdir(mode=0o700, exist_ok=True)
    env = {**os.environ, "ASYNCTRACE_DIR": str(directory), **variables}
    return subprocess.run([CLI, "run", *command], env=env, capture_output=True, text=True, timeout=PATIENCE)


def assert_refused(result, path, reason, remedy):
    first, second = result.stderr.splitlines()
    assert result.returncode == 125
    assert first.startswith(f"asynctrace: cannot trace {path}: ") and reason in first
    assert second.startswith("asynctrace: remedy: ") and remedy in second


BUILDS = {
    "static": (["-static"], PROGRAM, "statically linked", "link it dynamically"),
    "static-pie": (["-static-pie"], PROGRAM, "statically linked", "link it dynamically"),
    "32-bit": (["-m32", "-nostdlib", "-static"], BARE, "32-bit x86 program", "build it for 64-bit"),
    "musl": (["-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1"], PROGRAM, "musl", "-gnu target"),
    "asan": (["-fsanitize=address"], PROGRAM, "AddressSanitizer", "ASAN_OPTIONS=verify_asan_link_order=0"),
}


@pytest.mark.parametrize("kind", BUILDS)
def test_builds_that_cannot_be_entered(tmp_path, kind):
    flags, source, reason, remedy = BUILDS[kind]
    path = compile_c(tmp_path / "target", *flags, source=source)
    assert_refused(run(path, directory=tmp_path), path, reason, remedy)


def test_a_plain_build_is_entered(tmp_path):
    assert run(compile_c(tmp_path / "target"), directory=tmp_path).returncode == 42


def test_the_asan_remedy_works(tmp_path):
    path = compile_c(tmp_path / "target", "-fsanitize=address")
    options = "detect_leaks=0:verify_asan_link_order=0"
    assert run(path, directory=tmp_path, ASAN_OPTIONS=options).returncode == 42
    library = subprocess.run(["/usr/bin/gcc", "-print-file-name=libasan.so"], capture_output=True, text=True).stdout
    preload = str(pathlib.Path(library.strip()).resolve())
    assert run(path, directory=tmp_path, LD_PRELOAD=preload, ASAN_OPTIONS="detect_leaks=0").returncode == 42


def test_another_architecture(tmp_path):
    path = compile_c(tmp_path / "target")
    data = bytearray(path.read_bytes())
    data[18:20] = struct.pack("<H", 183)  # e_machine: AArch64
    path.write_bytes(data)
    assert_refused(run(path, directory=tmp_path), path, "64-bit ARM program", "build it for 64-bit x86-64")


def test_a_script_is_judged_by_its_interpreter(tmp_path):
    static = compile_c(tmp_path / "static", "-static")
    script = tmp_path / "script"
    nested = tmp_path / "nested"
    by_env = tmp_path / "by_env"
    script.write_text(f"#! {static} -x\n")
    nested.write_text(f"#!{script}\n")
    by_env.write_text("#!/usr/bin/env static\n")
    for path in (script, nested, by_env):
        path.chmod(0o755)
        result = run(path, directory=tmp_path, PATH=f"{tmp_path}:/usr/bin:/bin")
        assert_refused(result, static, f"it interprets the script {script if path == nested else path}", "link it dynamically")
    script.write_text("#!/bin/sh\nexit 7\n")
    assert run(nested, directory=tmp_path).returncode == 7


@pytest.mark.parametrize("mode, reason, remedy", [
    (0o4755, "it is setuid", "without the setuid bit"), (0o2755, "it is setgid", "without the setgid bit"),
])
def test_set_id_programs(tmp_path, mode, reason, remedy):
    if os.geteuid() != 0:
        lacking("only root can give a program to another user")
    path = compile_c(tmp_path / "target")
    path.chmod(mode)
    assert run(path, directory=tmp_path).returncode == 42  # our own ids: exec changes nothing
    os.chown(path, NOBODY, NOBODY)
    path.chmod(mode)
    assert_refused(run(path, directory=tmp_path), path, reason, remedy)


def test_file_capabilities(tmp_path):
    if os.geteuid() != 0:
        lacking("only root can give a program capabilities")
    path = compile_c(tmp_path / "target")
    # VFS_CAP_REVISION_2 | effective; CAP_NET_BIND_SERVICE permitted
    capability = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
    try:
        os.setxattr(path, "security.capability", capability)
    except OSError as error:
        lacking(f"the file system takes no capabilities: {error}")
    assert run(path, directory=tmp_path).returncode == 42  # root gains nothing by them
    # A place that another user can reach, with an installation of its own.
    place = pathlib.Path(subprocess.run(["/usr/bin/mktemp", "-d"], capture_output=True, text=True).stdout.strip())
    try:
        for name in ("cli", "agent", "segments"):
            (place / name).mkdir()
        shutil.copy(CLI, place / "cli")
        shutil.copy(AGENT, place / "agent")
        shutil.copy2(path, place / "target")
        os.setxattr(place / "target", "security.capability", capability)
        for each in [place, *place.rglob("*")]:
            each.chmod(0o755)
        (place / "segments").chmod(0o700)
        os.chown(place / "segments", NOBODY, NOBODY)
        env = {**os.environ, "ASYNCTRACE_DIR": str(place / "segments"), "HOME": str(place)}
        result = subprocess.run([place / "cli/asynctrace", "run", place / "target"], env=env, capture_output=True,
                                text=True, timeout=PATIENCE, user=NOBODY, group=NOBODY, extra_groups=[])
        assert_refused(result, place / "target", "file capabilities", "run asynctrace as root")
    finally:
        shutil.rmtree(place)
