"""Every address of a dump has the functions and lines that llvm-symbolizer gives it, inlined calls included."""

import json
import re
import subprocess

from conftest import PATIENCE, asynctrace, program, traced


def chains(dump, exe):
    """address in the file -> its frames, innermost first: a function and the calls that were inlined into it."""
    found = {}
    for stack in dump["stacks"]:
        chain = []
        for frame in (dump["frames"][index] for index in stack):
            if not frame["inlined"]:
                chain = []
            chain.insert(0, frame)
            if frame["module"] == exe:
                found[int(frame["offset"], 16)] = list(chain)
    return found


def ours(chain):
    return comparable([(frame["raw"], frame["file"] or "", frame["line"] or 0) for frame in chain])


def comparable(chain):
    """The known difference: llvm-symbolizer takes the name of the outermost function from the symbol table, where copies
    that were folded into one have the hash of any of them, and local ones a suffix. We take that of the debug info, which
    the line beside it belongs to."""
    *inlined, (function, file, line) = chain
    return [*inlined, (re.sub(r"17h[0-9a-f]{16}E(\.llvm\.\d+)?$", "", function), file, line)]


def peers(exe, addresses):
    """The calls: each address is where one returns to."""
    text = "".join(f"0x{address - 1:x}\n" for address in addresses)
    result = subprocess.run(["llvm-symbolizer-14", f"--obj={exe}", "--inlines", "--no-demangle", "--output-style=JSON"],
                            input=text, capture_output=True, text=True, timeout=PATIENCE, check=True)
    return [comparable([(symbol["FunctionName"], symbol["FileName"], symbol["Line"]) for symbol in json.loads(line)["Symbol"]])
            for line in result.stdout.splitlines()]


def test_frames_are_those_of_llvm_symbolizer(tmp_path):
    tmp_path.chmod(0o700)
    exe = program("leaves")
    with traced(exe, segment_dir=tmp_path) as target:
        segment = target.kill()
    dump = json.loads(asynctrace("dump", "--format=json", segment, env=target.env).stdout)
    found = chains(dump, str(exe))
    assert len(found) > 200
    for address, expected in zip(found, peers(exe, found), strict=True):
        assert ours(found[address]) == expected, hex(address)
