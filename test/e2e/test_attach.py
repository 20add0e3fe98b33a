"""The agent comes into programs that run already, and leaves them again."""

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter

import pytest
from attaching import busy, mapped, running
from conftest import AGENT, BUILD, PATIENCE, ROOT, confirmed_places, differences, program, tasks
from test_census import own_tasks


def places(lines):
    return Counter(rest.split(" ")[0] for word, rest in lines if word == "LEAF")


def codes(dump):
    return [item["code"] for item in dump["diagnostics"]]


def observed(dump):
    return [task for task in tasks(dump) if task["observed"]]


def wait_for_tasks(target, count):
    deadline = time.monotonic() + PATIENCE
    while len(observed(target.dump())) < count:
        assert time.monotonic() < deadline, "its threads do not go through the agent"


def test_what_is_polled_after_the_attach_is_known_exactly(tmp_path):
    with running([program("attached"), "again"], tmp_path) as target:
        target.until("WAITING")
        said = target.attach().stderr
        assert f"tracing process {target.pid} (attached)" in said and "was held for" in said
        early = target.dump()
        target.tell()
        lines, _ = target.until("READY")
        dump = target.dump()
        text = target.asynctrace("dump", target.pid).stdout
        target.end()
    assert len(tasks(early)) == 100 and observed(early) == [] and "attached" in codes(early)
    assert len(tasks(dump)) == 100 and len(observed(dump)) == 50
    assert len({task["address"] for task in tasks(dump)}) == 100, "no task twice"
    dump["tasks"] = observed(dump)
    assert differences(places(lines), confirmed_places(dump)) == []
    assert dump["source"] == "both" and "attached" in codes(dump)
    assert "tasks that have not been polled since are read from memory" in text
    assert all(count == 0 for count in dump["lost"].values())


def test_threads_that_were_there_are_known_once_they_loop(tmp_path):
    with running([program("attached"), "load"], tmp_path) as target:
        target.until("READY")
        target.attach()
        wait_for_tasks(target, 8)
        assert "tokio" in [runtime["name"] for runtime in target.dump()["runtimes"]]
        target.end()


def test_detach_gives_everything_back_and_attach_works_again(tmp_path):
    with running([program("attached"), "again"], tmp_path) as target:
        target.until("WAITING")
        target.attach()
        target.tell()
        lines, _ = target.until("READY")
        assert f"no longer tracing process {target.pid}" in target.detach().stderr
        alone = target.dump()
        assert alone["source"] == "census" and len(tasks(alone)) == 100 and observed(alone) == []
        again = target.asynctrace("detach", target.pid, check=False)
        assert again.returncode == 1 and "it is not traced" in again.stderr
        # What waited before is not known any more: it may have gone on, unseen.
        target.attach()
        again = target.dump()
        assert again["source"] == "both" and len(tasks(again)) == 100 and observed(again) == []
        target.end()
    assert len(lines) == 50
    assert len(list(tmp_path.glob("*.atrace"))) == 1


def test_a_child_that_it_forks_later_is_traced_on_its_own(tmp_path):
    with running([program("forks"), "fork"], tmp_path) as target:
        target.until("FORKING")
        target.attach()
        target.tell()
        _, child = target.until("CHILD")
        target.tell()
        lines, _ = target.until("READY")
        dump = json.loads(target.asynctrace("dump", "--format", "json", child).stdout)
        parent = target.dump()
        target.end()
    after = places([(word, rest) for word, rest in lines if rest.endswith("Notify, after")])
    dump["tasks"] = [task for task in observed(dump) if task["kind"] == "task"]
    assert sum(after.values()) == 3 and confirmed_places(dump) == after
    assert dump["process"]["pid"] == int(child) != parent["process"]["pid"]
    assert not any("wait_since_after" in (task["type"] or "") for task in parent["tasks"])


def test_what_it_execs_later_is_not_traced(tmp_path):
    with running([program("forks"), "exec"], tmp_path) as target:
        target.until("EXECING")
        target.attach()
        target.tell()
        target.until("READY")
        before = target.asynctrace("dump", target.pid).stdout
        again = target.attach().stderr
        dump = target.dump()
        target.end()
    assert "replaced by exec" in before.splitlines()[0], "the record of the program before"
    assert "tracing process" in again and dump["source"] == "both" and len(own_tasks(dump)) == 1


def test_what_is_traced_already_is_left_alone(tmp_path):
    with busy("wait", tmp_path) as target:
        target.attach()
        again = target.asynctrace("attach", target.pid, check=False)
        assert again.returncode == 1 and "it is traced already" in again.stderr
        assert f"asynctrace dump {target.pid}" in again.stderr
        assert target.end()["INTERRUPTED"] == "0"


def test_no_call_is_interrupted_and_no_signal_lost(tmp_path, quick):
    rounds = 10 if quick else 100
    with busy("wait", tmp_path) as target:
        sent = 0
        for _ in range(rounds):
            target.attach()
            os.kill(target.pid, signal.SIGRTMIN)
            target.detach()
            os.kill(target.pid, signal.SIGRTMIN)
            sent += 2
        said = target.end()
    assert int(said["SIGNALS"]) == sent
    assert int(said["INTERRUPTED"]) <= sent, "only handlers of signals end a wait"


@pytest.mark.parametrize("how", ["malloc", "dlopen", "fork", "spin"])
def test_whatever_the_threads_do(tmp_path, how, quick):
    """Each of the threads does it without a pause; each attach meets other moments."""
    for _ in range(1 if quick else 10):
        with busy(how, tmp_path) as target:
            target.attach()
            wait_for_tasks(target, 2)
            target.detach()
            for _ in range(1 if quick else 19):
                target.attach()
                target.detach()
            assert int(target.end()["TURNS"]) > 0


def slots(pid):
    """What stands in read-only data of the program and its libraries, and how all of their memory is protected."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        lines = [line.split() for line in maps if "/" in line]
        lines = [line for line in lines if re.search(r"/(busy|libc\.so\.6)$", line[5])]
        contents = []
        for line in lines:
            start, end = (int(word, 16) for word in line[0].split("-"))
            memory.seek(start)
            contents.append(hash(memory.read(end - start)) if line[1] == "r--p" else None)
    return [line[:2] for line in lines], contents


@pytest.mark.parametrize("flags", [
    ["-Wl,-z,now", "-pie"], ["-Wl,-z,lazy", "-pie"], ["-Wl,-z,norelro,-z,lazy", "-no-pie", "-fno-pie"],
    ["-fno-plt", "-Wl,-z,now", "-pie"], ["-Wl,--hash-style=sysv", "-Wl,-z,now", "-pie"], ["-Wl,-z,ibtplt", "-fcf-protection", "-pie"],
], ids=lambda flags: " ".join(flags))
def test_import_slots_however_they_are_bound(tmp_path, flags):
    """The main thread is seen by its calls of poll() alone."""
    path = tmp_path / "busy"
    source = ROOT / "test" / "targets" / "native" / "busy.c"
    subprocess.run(["gcc", "-O1", "-I", ROOT / "common" / "include", source, "-o", path, "-pthread", *flags], check=True)
    with running([path, "malloc", 1], tmp_path) as target:
        target.until("READY")
        before = slots(target.pid)
        target.attach()
        deadline = time.monotonic() + PATIENCE
        while target.pid not in [thread["tid"] for thread in target.dump()["threads"]]:
            assert time.monotonic() < deadline, "its poll() does not go through the agent"
        assert slots(target.pid)[1] != before[1] or not any("now" in flag for flag in flags)
        target.detach()
        assert slots(target.pid) == before, "contents and protection"
        target.end()


def test_rounds_under_load_leave_no_trace(tmp_path, quick):
    """Throughput of the whole program, its memory and its mappings, before and after."""
    with running([program("attached"), "load"], tmp_path, patience=4 * PATIENCE) as target:
        target.until("READY")

        def handed_over():
            target.tell()
            return int(target.until("HANDED_OVER")[1])

        def rate():
            start, before = time.monotonic(), handed_over()
            while time.monotonic() - start < 0.5:
                handed_over()
            return (handed_over() - before) / (time.monotonic() - start)

        target.attach(), target.detach()
        memory, mappings = mapped(target.pid)
        first = rate()
        rounds = 50 if quick else 1000
        command = [BUILD / "test" / "attach_rounds", target.pid, AGENT, tmp_path, rounds]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=3 * PATIENCE)
        assert done.returncode == 0 and done.stdout.split()[0] == str(rounds), done.stderr
        target.attach(), target.detach()
        assert rate() > first / 2, "slots that were not given back would cost more"
        more_memory, more_mappings = mapped(target.pid)
        assert more_memory - memory < 2048 and abs(more_mappings - mappings) < 10
        target.end()
