"""Many processes and threads, and records that others free: see crowds.rs."""

import json
import pathlib
import subprocess

import pytest
from conftest import CLI, PATIENCE, asynctrace, program
from processes import environment, run, section_use


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "segments"
    path.mkdir(mode=0o700)
    return path


def behaves_as_without(directory, *arguments):
    command = [program("crowds"), *arguments]
    for env in (environment(None), environment(directory, ASYNCTRACE_MAX_SIZE=str(4 << 20))):
        result = run(command, env)
        assert (result.returncode, result.stdout, result.stderr) == (0, "OK\n", "")
    return list(directory.glob("crowds.*.atrace"))


def test_a_storm_of_forks(directory, quick):
    turns = 6 if quick else 60
    segments = behaves_as_without(directory, "forks", turns)
    # Its own, and one for each child that ran a runtime; none for what ended or executed something at once.
    assert len(segments) == 1 + 8 * turns // 3
    assert len(segments) == len(list(directory.iterdir()))


def test_the_smallest_stacks(directory, quick):
    segments, = behaves_as_without(directory, "stacks", 20 if quick else 200)
    assert section_use(segments)["tasks"] > 0


def test_wakes_by_a_signal_handler_on_an_alternate_stack(directory, quick):
    segment, = behaves_as_without(directory, "handler", 500 if quick else 20_000)
    found = json.loads(asynctrace("dump", "--format", "json", segment, env=environment(directory)).stdout)
    assert set(found["lost"].values()) == {0}


def test_records_that_other_threads_free_are_used_again(directory, quick):
    """As many spawns and wakes as a busy server sees in an hour; counts, not times."""
    tasks, times = (10_000, 3) if quick else (100_000, 15)
    env = environment(directory)
    with subprocess.Popen([program("crowds"), "traffic", str(tasks), str(times)], env=env, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        used = []
        for word in ("WARM", "DONE"):
            assert process.stdout.readline().startswith(word)
            segment, = directory.glob("*.atrace")
            used.append(section_use(segment))
            process.stdin.write("\n")
            process.stdin.flush()
        assert process.wait(10 * PATIENCE) == 0
    found = json.loads(asynctrace("dump", "--format", "json", segment, env=env).stdout)
    assert set(found["lost"].values()) == {0}
    warm, done = used
    # How many wait at once, and what each thread holds in stock, differs from turn to turn: up to a few batches.
    slack = {"tasks": 2048, "leaves": 2048, "stacks": 16, "pcs": 512, "threads": 64}
    grown = {name: done[name] - warm[name] for name in warm}
    assert all(grown[name] <= slack.get(name, 0) for name in grown), grown
    assert done["tasks"] < tasks / 2


# Trees of processes without a runtime.

def test_a_tree_of_shell_scripts(directory, tmp_path):
    """Only what runs a runtime leaves a file, however deep it stands."""
    leaf, inner, outer = (tmp_path / name for name in ("leaf.sh", "inner.sh", "outer.sh"))
    leaf.write_text(f"#!/bin/sh\n{program('survivor')} steady 10 || exit 3\nls / >/dev/null | cat\n")
    inner.write_text(f"#!/bin/sh\n(for i in 1 2 3; do {leaf} & done; wait)\nexec {leaf}\n")
    outer.write_text(f"#!/bin/bash\nset -o pipefail\n{inner} | sort | uniq -c | tee /dev/null\n")
    for script in (leaf, inner, outer):
        script.chmod(0o755)
    result = run([outer], environment(directory))
    assert (result.returncode, result.stdout.split(), result.stderr) == (0, ["4", "OK"], "")
    assert len(list(directory.iterdir())) == 4


def test_a_build_with_make(tmp_path, directory):
    makefile = tmp_path / "Makefile"
    makefile.write_text(".PHONY: all\nall: $(addsuffix .o,$(shell seq 30))\n"
                        "%.o:\n\t@test -n \"$$LD_PRELOAD\" && cat /dev/null > $@\n")
    env = environment(None, ASYNCTRACE_DIR=str(directory), HOME=str(tmp_path))
    result = run([CLI, "run", "--", "make", "-j2", "-s", "-C", tmp_path], env)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert len(list(tmp_path.glob("*.o"))) == 30
    assert list(directory.iterdir()) == []


def test_a_test_run_of_cargo(tmp_path, directory):
    """cargo, rustc, the linker and the test program: none of them runs a runtime."""
    (tmp_path / "src").mkdir()
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "plain"\nversion = "0.1.0"\nedition = "2021"\n')
    (tmp_path / "src" / "lib.rs").write_text("#[test]\nfn holds() {\n    assert_eq!(1 + 1, 2);\n}\n")
    env = environment(None, ASYNCTRACE_DIR=str(directory), HOME=str(tmp_path), CARGO_HOME=str(tmp_path / "home"))
    command = [CLI, "run", "--", "/usr/bin/cargo", "test", "--offline", "--lib", "--manifest-path",
               pathlib.Path(tmp_path) / "Cargo.toml"]
    result = run(command, {**env, "RUSTC": "/usr/bin/rustc"})
    assert result.returncode == 0 and "1 passed" in result.stdout, result.stderr
    assert list(directory.iterdir()) == []
