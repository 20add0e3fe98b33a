"""What the agent may bring into someone else's process, read from its binary."""

import re

import pytest
from agent_binary import (call_graph, deepest_stack, described_ranges, dynamic_symbols, find, functions, imports_of,
                          output, reachable)
from conftest import AGENT, ROOT

HOOKS = find(r"^asynctrace_(poll|shutdown|dealloc|schedule|output|clone)_hook$")
WRAPPED = find(r"wrapped_(clone|wake|wake_by_ref|drop)E?")
ABORT = find(r"^asynctrace_record_abort$")
NATIVE = find(r"native_(enter|leave|trace_leaf|is_tracing|trace_enter|trace_leave|active_frame|backtrace|repoll_due)E|"
              r"_GLOBAL__N_1(12task_created|13task_finished|10task_woken|10leaf_armed|10leaf_ended)E")
LOOPS = find(r"^asynctrace_(call|dispatch|notify_hook)$")
DELETES = find(r"_GLOBAL__N_1\d+delete_(block|sized|aligned|sized_aligned)E")
POLL_LOOP = find(r"^(epoll_wait|epoll_pwait|epoll_pwait2|poll|ppoll|select|pselect)$")

# Where a hook leaves the hot path: once a thread, once a path, once a chunk of the segment, once a fork.
FIRST_USE = find(r"register_thread|adopt_after_fork|walk_and_remember|SegmentWriter7reserve")
FORK = find(r"adopt_after_fork")

# Everything the agent needs of libc. No allocation, no threads, no signals, no stdio but snprintf, nothing that ends
# the process and nothing that throws. dlopen, dlvsym, dlinfo and dl_iterate_phdr are for
# the constructor and for libraries that come late.
IMPORTS = set("""
    __cxa_finalize __errno_location __gmon_start__ _ITM_deregisterTMCloneTable _ITM_registerTMCloneTable
    access clock_gettime close dl_iterate_phdr dlinfo dlopen dlvsym fstat64 ftruncate64 getauxval getenv geteuid getpid
    getppid getrandom getrlimit64 inotify_add_watch inotify_init1 lstat64 madvise memchr memcmp memcpy memmem memmove memset mincore mkdir mmap64 mprotect munmap open64
    posix_fallocate64 prctl pread64 pthread_self pwrite64 read readlink snprintf statvfs64 strchr strcmp strerrordesc_np strlen
    strncmp strncpy strnlen strrchr strstr strtoul strtoull syscall unlink
""".split())


def test_exports_are_those_of_the_map():
    text = (ROOT / "agent" / "exports.map").read_text()
    listed = set(re.findall(r"^\s+(\w+);", text.split("global:")[1].split("local:")[0], re.MULTILINE))
    assert listed and "local:\n    *;" in text
    assert dynamic_symbols("--defined-only") == listed


def test_needs_libc_alone_and_stays_loaded():
    dynamic = output("readelf", "-dW", str(AGENT))
    assert re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic) == ["libc.so.6"]
    flags = re.search(r"\(FLAGS_1\) +Flags: (.*)", dynamic)[1].split()
    assert {"NOW", "NODELETE"} <= set(flags)
    assert not re.search(r"RUNPATH|RPATH|TEXTREL", dynamic)


def test_imports():
    assert dynamic_symbols("--undefined-only") - IMPORTS == set()


def test_no_memory_is_both_writable_and_executable():
    headers = output("readelf", "-lW", str(AGENT))
    segments = re.findall(r"^  (LOAD|GNU_STACK) .* ([R ][W ][E ]) 0x", headers, re.MULTILINE)
    assert len(segments) >= 4 and ("LOAD", "R E") in segments
    assert all(not ("W" in flags and "E" in flags) for _, flags in segments)
    assert ("GNU_STACK", "RW ") in segments


def test_thread_local_storage_is_small_and_initial_exec():
    headers = output("readelf", "-lW", str(AGENT))
    size = int(re.search(r"^  TLS +\S+ \S+ \S+ \S+ (0x[0-9a-f]+)", headers, re.MULTILINE)[1], 0)
    assert size <= 64
    relocations = set(re.findall(r"R_X86_64_\w+", output("readelf", "-rW", str(AGENT))))
    assert "R_X86_64_TPOFF64" in relocations
    assert not {name for name in relocations if re.search("DTPMOD|DTPOFF|TLSDESC", name)}


def test_all_code_has_unwind_tables():
    ranges = described_ranges()
    start_files = {"_init", "_fini", "deregister_tm_clones", "register_tm_clones", "__do_global_dtors_aux", "frame_dummy"}
    missing = [name for start, size, name in functions() if name not in start_files
               and not any(low <= start and start + size <= high for low, high in ranges)]
    assert not missing


def test_thunks_are_as_many_as_the_header_says_and_keep_the_frame():
    header = (ROOT / "agent" / "arch" / "thunks.hpp").read_text()
    size = int(re.search(r"kThunkSize = (\d+)", header)[1])
    kinds = re.search(r"enum class ThunkArray \{(.*?)\}", header)[1].split(",")
    counts = re.search(r"kThunkCounts\[\] = \{(.*?)\}", header)[1].split(",")
    expected = {f"asynctrace_{kind.strip()[1:].lower()}_thunks": int(count) for kind, count in zip(kinds, counts)}
    found = {name: (start, bytes_) for start, bytes_, name in functions() if name.endswith("_thunks")}
    # The last one needs no padding.
    assert {name: -(-bytes_ // size) for name, (_, bytes_) in found.items()} == expected
    # A tail jump leaves the stack as it was at entry, for every one of them: the rule of the CIE, no row of its own.
    rows = output("readelf", "--debug-dump=frames-interp", str(AGENT))
    for start, bytes_ in found.values():
        table = re.search(rf"FDE [^\n]*pc={start:016x}\.\.{start + bytes_:016x}\n(.*?)\n", rows + "\n\n", re.DOTALL)
        assert table and table[1] == ""
    assert re.search(r"CIE .*\n +LOC +CFA +ra +\n0+ rsp\+8 +c-8", rows)


@pytest.mark.parametrize("roots, allowed", [
    pytest.param(HOOKS + WRAPPED, {"clock_gettime", "memcpy", "memcmp"}, id="hooks"),
    pytest.param(DELETES, set(), id="operator delete"),
    # Names and kinds of leaves are text.
    pytest.param(NATIVE, {"clock_gettime", "memcpy", "memcmp", "strnlen", "__errno_location"}, id="native API"),
    # So are those of watchers.
    # A descriptor that is watched is closed only after a look at whose it is: the thread's, or a child's of vfork().
    pytest.param(LOOPS, {"clock_gettime", "memcpy", "memcmp", "strnlen", "syscall"}, id="loops"),
    # A thread that is about to sleep may also look at the clock.
    pytest.param(POLL_LOOP, {"clock_gettime", "dlvsym", "memcpy", "memcmp", "strnlen"}, id="poll loop"),
    # What a stack needs that may be damaged: the kernel is asked for each of its pages.
    pytest.param(ABORT, {"clock_gettime", "mincore", "syscall", "memset", "strnlen", "__errno_location"}, id="abort"),
])
def test_the_hot_path_calls_nothing(roots, allowed):
    """clock_gettime stands in for the time-stamp counter where that is not invariant, dlvsym for the constructor."""
    found = imports_of(reachable(roots, FIRST_USE))
    assert {name: callers for name, callers in found.items() if name not in allowed} == {}


@pytest.mark.parametrize("border, allowed", [
    ("SegmentWriter7reserve", {"madvise", "__errno_location"}),
    ("walk_and_remember", {"madvise", "mincore", "__errno_location", "memcpy", "memcmp", "memset", "memmove", "strnlen"}),
    ("register_thread", {"madvise", "__errno_location", "syscall", "getpid", "prctl", "getauxval", "pthread_self",
                         "clock_gettime"}),
])
def test_first_use_calls_little(border, allowed):
    found = imports_of(reachable(find(border), FORK))
    assert {name: callers for name, callers in found.items() if name not in allowed} == {}


@pytest.mark.parametrize("root", HOOKS + WRAPPED + NATIVE + LOOPS + DELETES + POLL_LOOP, ids=lambda start: call_graph()[start].name)
def test_stack_use_of_a_hook_is_under_1_kib(root):
    """libunwind aside, which is called through pointers."""
    used, path = deepest_stack(root)
    assert used < 1024, f"{used} bytes: {' > '.join(path)}"
