"""C++20 coroutines of a process without the agent: what the census finds is what the program itself prints."""

import json
import re
import subprocess
from collections import Counter

import pytest
from conftest import BUILD, asynctrace, traced
from test_schema import check

WITH_LINES = ["O0", "O2", "O3_lto_no_pie", "clang_O0", "clang_O2"]
WITHOUT_LINES = ["static_pie", "folded"]


def chains(build):
    return BUILD / "test" / "targets" / "coroutines" / f"chains_{build}"


def truth(target, lines=True):
    """By the address of its frame: where each coroutine is, on which line, and who awaits it."""
    known = {}
    for text in target.words("FRAME"):
        address, state, line, awaited_by = text.split(" ")
        awaited_by = None if awaited_by in ("(nil)", "0x0") else awaited_by
        known[address] = (state, int(line) if lines and state == "suspended" else None, awaited_by)
    return known


def found(dump, lines=True):
    seen = {}
    for task in dump["tasks"]:
        coroutines = {one["address"]: one for one in task["coroutines"]}
        ways = [dump["stacks"][leaf["stack"]] for leaf in task["leaves"]]
        children = {one["awaited_by"] for one in task["coroutines"]}
        innermost = [address for address in coroutines if address not in children]
        assert len(innermost) == len(ways)
        for address, way in zip(innermost, ways):
            for frame in reversed(way):
                one = coroutines[address]
                line = dump["frames"][frame]["line"] if lines and one["state"] == "suspended" else None
                assert seen.get(address, (one["state"], line, one["awaited_by"])) == (
                    one["state"],
                    line,
                    one["awaited_by"],
                )
                seen[address] = (one["state"], line, one["awaited_by"])
                address = one["awaited_by"]
    return seen


def dump_of(*arguments):
    dump = json.loads(asynctrace("dump", "--format", "json", *arguments).stdout)
    check(dump)
    return dump


@pytest.mark.parametrize("build", WITH_LINES)
def test_every_coroutine_its_line_and_who_awaits_it(tmp_path, build, quick):
    if quick and build not in ("O2", "clang_O2"):
        pytest.skip("--quick leaves out variants")
    with traced(chains(build), segment_dir=tmp_path, by="nobody") as target:
        dump = dump_of(target.pid)
    assert found(dump) == truth(target)
    assert dump["source"] == "census"
    assert [runtime["name"] for runtime in dump["runtimes"]] == ["C++20 coroutines"]
    coroutines = [one for task in dump["tasks"] for one in task["coroutines"]]
    assert all(one["sure"] for one in coroutines)
    # clang may put one that is not awaited yet into its caller's frame, where nothing bears it out.
    assert build == "clang_O2" or all(one["verified"] for one in coroutines)
    assert {one["link"] for one in coroutines} == {None, "promise_type"}


@pytest.mark.parametrize("build", WITHOUT_LINES)
def test_without_debug_info(tmp_path, build):
    """Static, or with functions of equal code folded into one: no lines, but who awaits whom."""
    with traced(chains(build), segment_dir=tmp_path, by="nobody") as target:
        dump = dump_of(target.pid)
    assert found(dump, lines=False) == truth(target, lines=False)
    assert all(frame["line"] is None for frame in dump["frames"])
    coroutines = [one for task in dump["tasks"] for one in task["coroutines"]]
    assert {one["link"] for one in coroutines} == {None, "call_graph"}
    kinds = {leaf["kind"] for task in dump["tasks"] for leaf in task["leaves"]}
    assert "leaf unknown (no debug info)" in kinds and "not started" in kinds
    assert all(one["verified"] for one in coroutines)


@pytest.mark.parametrize("build", ["async_stack", "async_stack_debug"])
def test_async_stack_frames_as_folly_has_them(tmp_path, build):
    """They tell who awaits whom where no code calls the other's; a wrapper that was never started waits all the same."""
    with traced(BUILD / "test" / "targets" / "coroutines" / build, segment_dir=tmp_path, by="nobody") as target:
        dump = dump_of(target.pid)
    lines = build == "async_stack_debug"
    assert found(dump, lines) == truth(target, lines)
    coroutines = [one for task in dump["tasks"] for one in task["coroutines"]]
    assert {one["link"] for one in coroutines} == {None, "folly"}
    assert all(one["sure"] and one["verified"] for one in coroutines)
    kinds = Counter(leaf["kind"] for task in dump["tasks"] for leaf in task["leaves"])
    assert kinds == {"BatonAwaiter": 3, "not started": 2}


def test_a_core_file(tmp_path):
    with traced(chains("O2"), segment_dir=tmp_path, by="nobody") as target:
        live = dump_of(target.pid)
        subprocess.run(["gcore", "-o", tmp_path / "core", str(target.pid)], check=True, capture_output=True, timeout=60)
    dump = dump_of(tmp_path / f"core.{target.pid}")
    assert found(dump) == truth(target)
    assert found(dump) == found(live)


@pytest.mark.parametrize("build", ["O0", "O2", "clang_O0", "clang_O2"])
def test_threads_on_a_cpu(tmp_path, build, quick):
    """They are held for their registers. Where that is forbidden, any coroutine may be what they execute."""
    if quick and build not in ("O2", "clang_O2"):
        pytest.skip("--quick leaves out variants")
    with traced(chains(build), "spin", segment_dir=tmp_path, by="nobody") as target:
        dump = dump_of(target.pid)
        alone = dump_of("--no-stop", target.pid)
        text = asynctrace("dump", "--no-stop", target.pid).stdout
        if build in ("O2", "clang_O2"):
            gcore = ["gcore", "-o", tmp_path / "core", str(target.pid)]
            subprocess.run(gcore, check=True, capture_output=True, timeout=60)
    expected = truth(target)
    assert Counter(state for state, _, _ in expected.values()) == {"running": 4, "suspended": 8}
    assert found(dump) == expected
    assert Counter(task["state"] for task in dump["tasks"]) == {"running": 4, "waiting": 2}
    assert {found["code"] for found in dump["diagnostics"]} >= {"thread_stopped"}
    assert {one["state"] for task in alone["tasks"] for one in task["coroutines"]} == {"suspended_or_running"}
    leaves = [leaf for task in alone["tasks"] for leaf in task["leaves"]]
    assert {(leaf["confirmed"], leaf["reason"]) for leaf in leaves} == {
        (False, "a thread may be executing one of its coroutines")
    }
    assert {found["code"] for found in alone["diagnostics"]} >= {"unknown_running"}
    assert text.count("[unless it runs]") == len(set(map(str, alone["groups"])))
    if build in ("O2", "clang_O2"):
        assert found(dump_of(tmp_path / f"core.{target.pid}")) == expected


@pytest.mark.parametrize("build", ["O2", "clang_O2"])
def test_threads_on_a_cpu_under_run(tmp_path, build):
    with traced(chains(build), "spin", segment_dir=tmp_path, by="run") as target:
        dump = target.dump()
    assert found(dump) == truth(target)


def test_a_coroutine_of_asio_on_a_cpu_under_run(tmp_path):
    """The agent is there for the epoll below it."""
    with traced(BUILD / "test" / "targets" / "coroutines" / "asio", "spin", segment_dir=tmp_path, by="run") as target:
        dump = target.dump()
        alone = dump_of("--no-stop", target.pid)
    check(dump)
    (running,) = [task for task in dump["tasks"] if task["state"] == "running"]
    states = {one["function"].split("(")[0]: one["state"] for one in running["coroutines"]}
    assert states["spin"] == "running" and states["spinner"] == "suspended"
    assert sum(chains_of_asio(dump).values()) == 1 + sum(int(chain.split(" ")[0]) for chain in target.words("CHAIN"))
    leaves = [leaf for task in alone["tasks"] for leaf in task["leaves"] if task["coroutines"]]
    assert leaves and not any(leaf["confirmed"] for leaf in leaves)


def test_the_text(tmp_path):
    with traced(chains("O2"), segment_dir=tmp_path, by="nobody") as target:
        text = asynctrace("dump", target.pid).stdout
    lines = text.splitlines()
    assert lines[0].startswith(f"chains_O2 pid {target.pid}  C++20 coroutines   14 tasks: 13 inside, 1 running   census")
    start = lines.index("3 tasks  (2, 3, 7)")
    place = "test/targets/coroutines/chains.cpp"
    assert [re.sub(r":[0-9]+$", "", line) for line in lines[start + 1 : start + 4]] == [
        f"╼ middle(int) at {place}:23",
        f"  └╼ leaf(int) at {place}:15",
        "     └╼ Event::Awaiter",
    ]
    assert "  └╼ not started" in lines and "  └╼ ended, not destroyed" in lines


@pytest.mark.parametrize("build", ["churn", "churn_clang"])
def test_what_was_freed_is_not_found(tmp_path, build, quick):
    """Sessions that came and went, and chains destroyed while suspended, in the heaps of two threads."""
    counts = (2000, 400) if quick else (20000, 4000)
    program = BUILD / "test" / "targets" / "coroutines" / build
    with traced(program, *counts, segment_dir=tmp_path, by="nobody") as target:
        dump = dump_of(target.pid)
    expected = truth(target)
    assert len(expected) > 1000
    coroutines = {one["address"]: one for task in dump["tasks"] for one in task["coroutines"]}
    verified = {address for address, one in coroutines.items() if one["verified"]}
    assert verified == expected.keys()
    assert {address: place for address, place in found(dump).items() if address in verified} == expected
    assert all(coroutines[address]["sure"] for address in verified)
    if build == "churn":
        # clang puts frames inside of others, where old ones may stand too; they say so.
        assert verified == coroutines.keys()


def test_another_allocator(tmp_path, quick):
    """Nothing tells what it has freed: all frames are there, and each says that it may be an old one."""
    if quick:
        pytest.skip("--quick leaves out variants")
    program = BUILD / "test" / "targets" / "coroutines" / "churn_own_allocator"
    with traced(program, 50, 20, segment_dir=tmp_path, by="nobody") as target:
        dump = dump_of(target.pid)
        text = asynctrace("dump", target.pid).stdout
    coroutines = {one["address"]: one for task in dump["tasks"] for one in task["coroutines"]}
    expected = truth(target)
    assert expected.keys() < coroutines.keys()
    assert not any(one["verified"] for one in coroutines.values())
    assert "[unverified: may have been freed]" in text


def chains_of_asio(dump, lines=True):
    """What each chain waits for, with the line of each of the program's own functions."""
    chains = Counter()
    for task in dump["tasks"]:
        for leaf in task["leaves"] if task["coroutines"] else []:
            frames = [dump["frames"][index] for index in dump["stacks"][leaf["stack"]]]
            own = [frame["line"] for frame in frames if frame["class"] == "user"]
            chains[(leaf["kind"], tuple(own) if lines else len(own))] += 1
    return chains


def operations_of_asio(dump):
    """What waits with a callback, and the function that gave it; the lines of all callbacks."""
    operations, lines = Counter(), set()
    for task in dump["tasks"]:
        if not task["coroutines"]:
            (leaf,) = task["leaves"]
            (frame,) = [dump["frames"][index] for index in dump["stacks"][leaf["stack"]]]
            operations[(leaf["kind"], frame["function"].split("::{lambda")[0])] += 1
            lines.add(frame["line"])
    return operations, lines


def truth_of_asio(lines_before, lines=True):
    """The same as the program says it, from the lines that it printed before READY."""
    chains, operations = Counter(), Counter()
    for word, rest in lines_before:
        count, leaf, *places = rest.split(" ")
        if word == "CHAIN":
            own = tuple(map(int, places)) if lines else len(places)
            chains[(leaf.replace("_receive", " receive"), own)] += int(count)
        else:
            operations[(leaf, places[-1])] += int(count)
    return chains, operations


@pytest.mark.parametrize("by", ["nobody", "run"])
@pytest.mark.parametrize("build", ["asio", "boost_asio"])
def test_coroutines_and_callbacks_on_asio(tmp_path, build, by):
    """Three levels, with sockets, timers and a channel; Boost's without debug info. The agent sees the epoll below
    them, which tells nothing more."""
    with traced(BUILD / "test" / "targets" / "coroutines" / build, segment_dir=tmp_path, by=by) as target:
        dump = dump_of(target.pid)
        text = asynctrace("dump", target.pid).stdout
    assert dump["suspects"] == []
    lines = build == "asio"
    operations, places = operations_of_asio(dump)
    assert (chains_of_asio(dump, lines), operations) == truth_of_asio(target.lines, lines)
    assert (places != {None}) == lines
    coroutines = [one for task in dump["tasks"] for one in task.get("coroutines", [])]
    assert {one["link"] for one in coroutines} == {None, "asio"}
    assert all(one["sure"] and one["verified"] for one in coroutines)
    assert [runtime["name"] for runtime in dump["runtimes"]] == ["asio"]
    classes = {leaf["kind"]: leaf["class"] for task in dump["tasks"] for leaf in task["leaves"]}
    assert classes["async_read_some"] == "io" and classes["channel receive"] == "channel"
    inside, outside = text.split("\nINSIDE ")[1].split("\nOUTSIDE ")
    assert "channel receive" in inside and "async_read_some" in outside and "steady_timer" in outside


@pytest.mark.parametrize("build", ["asio", "boost_asio"])
def test_what_asio_has_queued(tmp_path, build):
    """By when timers are due, and what waits for nothing but a thread, which never comes here."""
    with traced(BUILD / "test" / "targets" / "coroutines" / build, "queued", segment_dir=tmp_path, by="nobody") as target:
        dump = dump_of(target.pid)
        text = asynctrace("dump", target.pid).stdout
    assert sorted(queued(dump)) == sorted(
        (leaf.replace("_", " "), function)
        for count, leaf, function in (rest.split(" ") for rest in target.words("QUEUED"))
        for _ in range(int(count))
    )
    leaves = [leaf for task in dump["tasks"] for leaf in task["leaves"]]
    due = [leaf["due_ns"] for leaf in leaves if leaf["class"] == "timer"]
    hour = 3600 * 10**9
    assert len(due) == 9 and min(due) < -hour and sorted(due)[1] > 0 and max(due) < hour
    assert {"due_ns" in leaf for leaf in leaves if leaf["class"] != "timer"} == {False}
    assert {leaf["class"] for leaf in leaves if "not yet" in leaf["kind"]} == {"sync"}
    assert "steady_timer  due in 59m" in text and "timer  overdue by 1h" in text


def queued(dump):
    """(what it waits for, function) of what waits for a thread, or has not been waited for in time."""
    for task in dump["tasks"]:
        for leaf in task["leaves"]:
            if "not yet" in leaf["kind"] or leaf.get("due_ns", 0) < 0:
                frames = [dump["frames"][index] for index in dump["stacks"][leaf["stack"]]]
                (own,) = [frame["function"] for frame in frames if frame["class"] == "user"]
                yield leaf["kind"], own.split("(")[0]


@pytest.mark.parametrize("runtime", ["single", "multi"])
def test_the_reference_runtimes_as_they_tell_themselves(tmp_path, runtime):
    """The same program with the agent, through the native API, and without it."""
    program = BUILD / "test" / "targets" / "native" / "runtimes"
    with traced(program, runtime, segment_dir=tmp_path, by="nobody") as target:
        dump = dump_of(target.pid)
    seen = Counter()
    for task in dump["tasks"]:
        (leaf,) = task["leaves"]
        frames = [dump["frames"][index] for index in dump["stacks"][leaf["stack"]]]
        if "end_with_stdin" not in frames[0]["function"]:
            seen[tuple(frame["line"] for frame in frames)] += 1
    expected = Counter(tuple(map(int, rest.split(" ")[2:])) for rest in target.words("LEAF"))
    assert seen == expected and sum(seen.values()) == 5
    kinds = {leaf["kind"] for task in dump["tasks"] for leaf in task["leaves"]}
    assert {"native::Sleep", "native::Channel<int>::Receive"} <= kinds
    coroutines = [one for task in dump["tasks"] for one in task["coroutines"]]
    assert all(one["sure"] and one["verified"] for one in coroutines)


def test_coroutines_that_never_stand_still(tmp_path, quick):
    """Each dump is whole, and those of the other thread, which stand still, are in all of them."""
    program = BUILD / "test" / "targets" / "coroutines" / "churn"
    with traced(program, 200, 50, "go_on", segment_dir=tmp_path, by="nobody") as target:
        dumps = [dump_of(target.pid) for _ in range(2 if quick else 10)]
    heaps = [{one["address"] for task in dump["tasks"] for one in task["coroutines"] if one["verified"]} for dump in dumps]
    still = {address for address in truth(target) if address.startswith("0x7")}
    assert still and all(still <= heap for heap in heaps)


def test_with_the_agent_that_has_found_no_runtime(tmp_path):
    with traced(chains("O2"), segment_dir=tmp_path, by="run") as target:
        dump = target.dump()
    check(dump)
    assert found(dump) == truth(target) and dump["source"] == "census"
