"""However a program was built, linked and stripped, each place where it is stuck is shown, and nothing else."""

import shutil
import subprocess
from collections import Counter

import pytest
from conftest import BUILD, confirmed_places, differences, program, tasks, traced

# Of test/targets, built by scripts/lib/targets.sh: the directory below DIR/targets.
BUILDS = [
    "fat-lto/release",  # with panic=abort and one codegen unit
    "thin-lto/x86_64-unknown-linux-gnu/release",  # opt-level s, code that is not position-independent, frame pointers
    "linked/release",  # opt-level z, v0 names
    "linked/release/icf-lld",  # task functions of several future types share an address
    "linked/release/icf-gold",
    "linked/release/relr",
    "linked/release/no-pie",
    "linked/release/compressed",
    "dynamic-std/release",  # another rustc; std is a library, debug info in .dwo files
]


def built(path, quick):
    if quick:
        pytest.skip("--quick builds one way only")
    executable = BUILD / "targets" / path / "leaves"
    if not executable.exists():
        if path.startswith("dynamic-std"):
            pytest.skip("no second Rust toolchain in PATH")
        pytest.fail(f"{executable} is not built")
    return executable


def objcopy(*arguments):
    subprocess.run(["/usr/bin/objcopy", *map(str, arguments)], check=True)


def dump_of(path, runtime, segment_dir):
    """With the places where the program says that it is stuck."""
    segment_dir.mkdir(mode=0o700)
    with traced(path, runtime, segment_dir=segment_dir) as target:
        return target.leaves(), target.dump()


def check_exact(expected, dump):
    assert sum(expected.values()) > 40
    assert not differences(expected, confirmed_places(dump))
    # Who holds a lock needs more debug info than these builds have.
    assert not dump["suspects"] and {one["code"] for one in dump["diagnostics"]} <= {"holder_unknown"}
    assert all(count == 0 for count in dump["lost"].values()), dump["lost"]


@pytest.mark.parametrize("runtime", ["multi", "current"])
@pytest.mark.parametrize("path", BUILDS)
def test_every_build_shows_every_leaf(tmp_path, quick, path, runtime):
    check_exact(*dump_of(built(path, quick), runtime, tmp_path / "segments"))


def sections(path):
    return subprocess.run(["/usr/bin/readelf", "-hSW", path], check=True, capture_output=True, text=True).stdout


def shared_task_functions(path):
    """How many addresses have several names, of tokio's functions for each type of future."""
    symbols = subprocess.run(["/usr/bin/nm", path], check=True, capture_output=True, text=True).stdout
    names = (line.split() for line in symbols.splitlines() if "tokio7runtime4task" in line)
    return sum(count > 1 for count in Counter(address for address, _, _ in names).values())


def test_the_builds_are_what_they_are_called(quick):
    """A linker that ignored its options would make the tests above prove nothing."""
    plain = built("linked/release", quick)
    ways = {path.name: path / "leaves" for path in plain.parent.iterdir() if (path / "leaves").is_file()}
    assert ".relr.dyn" in sections(ways["relr"]) and ".relr.dyn" not in sections(plain)
    assert "EXEC (" in sections(ways["no-pie"]) and "EXEC (" not in sections(plain)
    assert "EXEC (" in sections(built("thin-lto/x86_64-unknown-linux-gnu/release", quick))
    compressed = [line.split() for line in sections(ways["compressed"]).splitlines() if " .debug_info " in line]
    assert len(compressed) == 1 and "C" in compressed[0]
    for way in ("icf-lld", "icf-gold"):
        assert shared_task_functions(ways[way]) > shared_task_functions(plain) + 50


@pytest.mark.parametrize(
    "option, section, is_there",
    [
        # As linkers compressed before the ELF standard had a flag for it.
        ("--compress-debug-sections=zlib-gnu", ".zdebug_info", True),
        # As clang leaves them out.
        ("--remove-section=.debug_aranges", ".debug_aranges", False),
    ],
)
def test_other_forms_of_debug_info(tmp_path, option, section, is_there):
    path = tmp_path / "leaves"
    assert (section in sections(program("leaves"))) != is_there
    objcopy(option, program("leaves"), path)
    assert (section in sections(path)) == is_there
    check_exact(*dump_of(path, "current", tmp_path / "segments"))


def build_id(path):
    notes = subprocess.run(["/usr/bin/readelf", "-n", path], check=True, capture_output=True, text=True).stdout
    return notes.split("Build ID: ")[1].split()[0]


@pytest.mark.parametrize("way", ["debuglink", "debuglink in .debug", "build-id"])
def test_debug_info_in_a_file_of_its_own(tmp_path, way):
    path, debug = tmp_path / "leaves", tmp_path / "leaves.debug"
    objcopy("--only-keep-debug", program("leaves"), debug)
    # The symbol table stays: the agent, which runs inside the program, reads no other file.
    link = [] if way == "build-id" else [f"--add-gnu-debuglink={debug}"]
    objcopy("--strip-debug", *link, program("leaves"), path)
    assert ".debug_info" not in sections(path)
    identity = build_id(path)
    place = {
        "debuglink": debug,
        "debuglink in .debug": tmp_path / ".debug" / debug.name,
        "build-id": tmp_path / ".debug" / ".build-id" / identity[:2] / f"{identity[2:]}.debug",
    }[way]
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(debug, place)
    check_exact(*dump_of(path, "multi", tmp_path / "segments"))


def functions(dump):
    """The way to each leaf. Inlined calls are left out, and so is the suffix of LLVM's, which only symbol tables
    have. No addresses: select! polls its branches in any order, from several places."""
    frames = dump["frames"]
    names = [None if frame["inlined"] else frame["raw"].partition(".llvm.")[0] for frame in frames]
    return Counter(
        tuple(names[index] for index in dump["stacks"][leaf["stack"]] if names[index] is not None)
        for task in tasks(dump)
        for leaf in task["leaves"]
    )


def test_without_debug_info_the_leaves_are_as_many(tmp_path):
    """Of the same code: the same leaves through the same functions, without lines and inlined calls. Which of
    them are confirmed may differ, for that takes debug info."""
    path = tmp_path / "leaves"
    objcopy("--strip-debug", program("leaves"), path)
    _, described = dump_of(program("leaves"), "current", tmp_path / "described")
    _, bare = dump_of(path, "current", tmp_path / "bare")
    assert functions(bare) == functions(described)
    assert sum(functions(bare).values()) > 40
    own = [frame for frame in bare["frames"] if frame["module"] == str(path)]
    assert own and all(frame["function"] for frame in own)
    assert not any(frame["inlined"] or frame["file"] or frame["line"] for frame in own)
    assert [diagnostic["code"] for diagnostic in bare["diagnostics"]] == ["no_debug_info", "holder_unknown"]
    assert not bare["suspects"]
