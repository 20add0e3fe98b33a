"""The agent's library as binutils show it: symbols, program headers, unwind tables, and who calls whom."""

import bisect
import functools
import re
import subprocess
from collections import defaultdict

from conftest import AGENT


def output(*command):
    env = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout


def dynamic_symbols(*options):
    """Names without their versions."""
    return {line.split()[-1].split("@")[0] for line in output("nm", "-D", *options, str(AGENT)).splitlines()}


@functools.cache
def functions():
    """[(start, size, mangled name)] of all code, sorted; names can stand for several functions."""
    table = []
    for line in output("readelf", "-sW", str(AGENT)).splitlines():
        fields = line.split()
        if len(fields) == 8 and fields[3] == "FUNC" and fields[6] != "UND" and int(fields[2], 0) > 0:
            table.append((int(fields[1], 16), int(fields[2], 0), fields[7]))
    assert len(table) > 50, "the library has no symbol table"
    return sorted(set(table))


@functools.cache
def described_ranges():
    """[(start, end)] of code that has an unwind table."""
    text = output("readelf", "--debug-dump=frames", str(AGENT))
    return sorted((int(low, 16), int(high, 16)) for low, high in re.findall(r"FDE .*pc=([0-9a-f]+)\.\.([0-9a-f]+)", text))


class Function:
    def __init__(self, name):
        self.name = name
        self.calls = set()     # starts of functions of the library, tail jumps included
        self.imports = set()   # names
        self.stack = 8         # bytes: return address, saved registers and the frame itself


BRANCH = re.compile(r"\t(call|jmp|j\w+) +([0-9a-f]+) <([^>]+)>")
THROUGH_TABLE = re.compile(r"\t(?:call|jmp) +\*.*# [0-9a-f]+ <([^@>]+)@")


@functools.cache
def call_graph():
    """start -> Function."""
    starts = {start: name for start, _, name in functions()}
    plain = sorted(starts)
    graph = {start: Function(name) for start, name in starts.items()}
    current = None

    def owner(address):
        return plain[bisect.bisect_right(plain, address) - 1]

    for line in output("objdump", "-d", "--no-show-raw-insn", "-w", str(AGENT)).splitlines():
        header = re.fullmatch(r"([0-9a-f]+) <(.+)>:", line)
        if header:
            current = graph.get(int(header[1], 16))
            continue
        if current is None:
            continue
        if branch := BRANCH.search(line):
            if branch[3].endswith("@plt"):
                current.imports.add(branch[3].removesuffix("@plt"))
            else:
                current.calls.add(owner(int(branch[2], 16)))
        elif through := THROUGH_TABLE.search(line):
            current.imports.add(through[1])
        elif re.search(r"\tpush ", line):
            current.stack += 8
        elif grown := re.search(r"\tsub +\$0x([0-9a-f]{1,8}),%rsp", line):
            current.stack += int(grown[1], 16)
    for start, function in graph.items():
        function.calls.discard(start)
    return graph


def find(pattern):
    """Starts of the functions whose mangled name matches; at least one."""
    found = [start for start, function in call_graph().items() if re.search(pattern, function.name)]
    assert found, f"no function {pattern}"
    return found


def reachable(roots, borders=()):
    """Functions that `roots` may run, without entering any of `borders`."""
    graph, seen, todo = call_graph(), set(), list(roots)
    while todo:
        start = todo.pop()
        if start in seen or start in borders:
            continue
        seen.add(start)
        todo.extend(graph[start].calls)
    return seen


def imports_of(starts):
    """Imported function -> names of those that call it."""
    graph, found = call_graph(), defaultdict(set)
    for start in starts:
        for name in graph[start].imports:
            found[name].add(graph[start].name)
    return dict(found)


def deepest_stack(root, borders=()):
    """Bytes of stack that `root` and all it calls inside the library can use, and by which calls."""
    graph = call_graph()

    @functools.cache
    def depth(start):
        below = [depth(callee) for callee in graph[start].calls if callee not in borders]
        bytes_below, path = max(below, default=(0, ()))
        return graph[start].stack + bytes_below, (graph[start].name, *path)

    return depth(root)
