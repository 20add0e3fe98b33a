"""What a call of the native API costs where there is no agent, read from machine code."""

import re
import subprocess

import pytest
from conftest import ROOT

INCLUDE = ROOT / "common" / "include"
HEADER = INCLUDE / "asynctrace.h"

# Each call of the header, made by a function of its own.
CALLS = {
    "asynctrace_task_created": "(const void *t) { asynctrace_task_created(t, \"runtime\", NULL, NULL); }",
    "asynctrace_task_finished": "(const void *t) { asynctrace_task_finished(t); }",
    "asynctrace_task_woken": "(const void *t) { asynctrace_task_woken(t); }",
    "asynctrace_enter": "(struct asynctrace_frame *f) { asynctrace_enter(f, ASYNCTRACE_ROOT, f); }",
    "asynctrace_leave": "(struct asynctrace_frame *f) { asynctrace_leave(f); }",
    "asynctrace_poll_begin": "(struct asynctrace_frame *f) { asynctrace_poll_begin(f, f); }",
    "asynctrace_poll_end": "(struct asynctrace_frame *f) { asynctrace_poll_end(f); }",
    "asynctrace_leaf_armed": "(uint64_t *r) { *r = asynctrace_leaf_armed(\"kind\", ASYNCTRACE_IO, NULL); }",
    "asynctrace_leaf_ended": "(uint64_t leaf) { asynctrace_leaf_ended(leaf); }",
    "asynctrace_operation_begun": "(const struct asynctrace_operation *o) { asynctrace_operation_begun(o, o); }",
    "asynctrace_operation_ended": "(const void *o) { asynctrace_operation_ended(o); }",
    "asynctrace_trace_leaf": "(int *r) { *r = asynctrace_trace_leaf(); }",
    "asynctrace_is_tracing": "(int *r) { *r = asynctrace_is_tracing(); }",
    "asynctrace_trace_enter": "(struct asynctrace_collector *c) { asynctrace_trace_enter(c); }",
    "asynctrace_trace_leave": "(struct asynctrace_collector *c) { asynctrace_trace_leave(c); }",
    "asynctrace_active_frame": "(const void **r) { *r = asynctrace_active_frame(); }",
    "asynctrace_backtrace": "(struct asynctrace_trace_meta *m, size_t *r) { *r = asynctrace_backtrace(m, NULL, 0); }",
    "asynctrace_symbol": "(size_t *r) { *r = asynctrace_symbol(r, NULL, 0); }",
    "asynctrace_repoll_open": "(struct asynctrace_repoll *p) { asynctrace_repoll_open(p); }",
    "asynctrace_repoll_close": "(struct asynctrace_repoll *p) { asynctrace_repoll_close(p); }",
    "asynctrace_repoll_due": "(struct asynctrace_repoll *p, int *r) { *r = asynctrace_repoll_due(p); }",
    "asynctrace_repoll_begin": "(struct asynctrace_repoll *p) { asynctrace_repoll_begin(p); }",
    "asynctrace_repoll_leaf": "(struct asynctrace_repoll *p) { asynctrace_repoll_leaf(p, p, NULL, 0); }",
    "asynctrace_repoll_end": "(struct asynctrace_repoll *p) { asynctrace_repoll_end(p, NULL); }",
}
SOURCE = "#include <asynctrace.h>\n" + "".join(f"void call_{name}{body}\n" for name, body in CALLS.items())
INSTRUCTION = re.compile(r"^\s+[0-9a-f]+:\t(\S+)\s*(.*?)(?:\s+#.*|\s+<.*)?$")


def instructions(object_file):
    """Function -> [(mnemonic, operands)] as they lie."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", object_file], capture_output=True, text=True,
                          check=True).stdout
    found = {}
    for line in text.splitlines():
        if header := re.fullmatch(r"[0-9a-f]+ <(\w+)>:", line):
            body = found[header[1]] = []
        elif instruction := INSTRUCTION.match(line):
            body.append((instruction[1], instruction[2]))
    return found


def reads_memory(mnemonic, operands):
    if "(" not in operands or mnemonic.startswith(("lea", "nop")):
        return False
    return not (mnemonic.startswith("mov") and operands.endswith(")"))  # a store


def path_without_agent(body):
    """Loads and conditional branches up to the return, no branch being taken."""
    loads = branches = 0
    for mnemonic, operands in body:
        if mnemonic.startswith("ret"):
            return loads, branches
        assert mnemonic != "call" and mnemonic != "jmp", body
        branches += mnemonic.startswith("j")
        loads += reads_memory(mnemonic, operands)
    raise AssertionError("it has no end")


def test_every_call_is_looked_at():
    declared = set(re.findall(r"^ASYNCTRACE_INLINE_ [^;{]*?(asynctrace_\w+[a-z])\(", HEADER.read_text(), re.MULTILINE))
    assert declared == set(CALLS)


@pytest.mark.parametrize("code, loads", [("-fno-pie", 1), ("-fPIE", 1), ("-fPIC", 2)])
def test_a_call_is_one_load_and_one_branch(tmp_path, code, loads):
    """In a shared library the address of the variable is one more load: its table of addresses."""
    (tmp_path / "calls.c").write_text(SOURCE)
    subprocess.run(["gcc", "-std=c11", "-O2", "-Wall", "-Werror", code, "-fcf-protection=none", f"-I{INCLUDE}", "-c",
                    "calls.c"], cwd=tmp_path, check=True)
    paths = {name.removeprefix("call_"): path_without_agent(body)
             for name, body in instructions(tmp_path / "calls.o").items() if name.startswith("call_")}
    assert set(paths) == set(CALLS)
    assert {name: path for name, path in paths.items() if path[0] > loads or path[1] != 1} == {}
