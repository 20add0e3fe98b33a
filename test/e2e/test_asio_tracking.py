"""Programs that name <asynctrace/asio.hpp> to Asio: each operation with the stack of its creation, beside what the
census tells, while they live and after."""

import subprocess
from collections import Counter

import pytest
from attaching import need_ptrace
from conftest import BUILD, ROOT, asynctrace, traced
from test_coroutines import chains_of_asio, dump_of, truth_of_asio
from test_native_calls import instructions, path_without_agent
from test_schema import check

BUILDS = ["asio_tracked", "boost_asio_tracked"]


def program(build):
    return BUILD / "test" / "targets" / "coroutines" / build


def chains(target):
    return truth_of_asio(target.lines)[0]


def operations(target):
    truth = Counter()
    for count, leaf, line, function in (operation.split(" ") for operation in target.words("OPERATION")):
        truth[leaf, int(line), function] += int(count)
    return truth


def found(dump):
    """What each operation waits for, the line where it was begun, and what it calls."""
    seen = Counter()
    for task in dump["tasks"]:
        if task["coroutines"]:
            continue
        (leaf,) = task["leaves"]
        frames = [dump["frames"][index] for index in dump["stacks"][leaf["stack"]]]
        own = [frame for frame in frames if frame["class"] == "user"]
        assert own[0]["function"].startswith("main") and leaf["confirmed"] and leaf["waiting_ns"] > 0
        seen[leaf["kind"], own[-1]["line"], task["type"] and task["type"].split("::{lambda")[0]] += 1
    return seen


@pytest.mark.parametrize("build", BUILDS)
def test_each_operation_once_with_where_it_was_begun(tmp_path, build):
    with traced(program(build), segment_dir=tmp_path) as target:
        dump = target.dump()
        text = asynctrace("dump", target.pid, env=target.env).stdout
        dead = dump_of(target.kill())
    check(dump)
    assert found(dump) == operations(target)
    assert chains_of_asio(dump) == chains(target)
    assert [runtime["name"] for runtime in dump["runtimes"]] == ["asio"] and dump["suspects"] == []
    resources = {leaf["kind"]: leaf["resource"] for task in dump["tasks"] if task["type"] for leaf in task["leaves"]}
    assert resources["async_read_some"].startswith("tcp 127.0.0.1:") and resources["timer"] is None
    assert resources["async_accept"].endswith(", listening")
    assert "└╼ async_read_some, calls Session::read()::{lambda" in text
    # What coroutines await is there as well: its chain is not. Nor are the functions that only memory knows.
    awaited = Counter({kind: 0 for kind, _ in chains(target)})
    for (kind, _), count in chains(target).items():
        awaited["timer" if kind == "steady_timer" else kind] += count
    seen = found(dead)
    assert Counter({kind: n for (kind, _, function), n in seen.items() if not function}).keys() == {
        "async_accept", "async_read_some", "timer", "channel receive"}
    assert sum(n for (_, _, function), n in seen.items() if not function) == sum(awaited.values())
    called = Counter({place[:2]: 0 for place in seen})
    for (kind, line, function), n in seen.items():
        called[kind, line] += n if function else 0
    assert +called == Counter({(kind, line): n for (kind, line, _), n in operations(target).items()})


@pytest.mark.parametrize("build", BUILDS)
def test_without_the_agent_nothing_differs(tmp_path, build, quick):
    if quick:
        pytest.skip("--quick leaves out variants")
    with traced(program(build), segment_dir=tmp_path, by="nobody") as target:
        dump = dump_of(target.pid)
    assert chains_of_asio(dump) == chains(target)
    kinds = Counter(leaf["kind"] for task in dump["tasks"] if not task["coroutines"] for leaf in task["leaves"])
    assert kinds == sum((Counter({kind: n}) for (kind, _, _), n in operations(target).items()), Counter())


def test_what_may_have_ended_unseen_is_told_by_memory_alone(tmp_path):
    """Attached again: the operations are the same, but nothing of what the agent had seen of them holds."""
    need_ptrace()
    with traced(program("asio_tracked"), segment_dir=tmp_path) as target:
        asynctrace("detach", target.pid, env=target.env)
        asynctrace("attach", target.pid, env=target.env)
        dump = target.dump()
    assert chains_of_asio(dump) == chains(target)
    left = [task for task in dump["tasks"] if not task["coroutines"]]
    assert len(left) == sum(operations(target).values())
    assert all(task["in_state_ns"] is None for task in left)


SOURCE = """
#define ASIO_CUSTOM_HANDLER_TRACKING
#include <asynctrace/asio.hpp>
using namespace asynctrace::asio_tracking;
extern "C" void call_begun(int &context, TrackedHandler &one) {
  ASIO_HANDLER_CREATION((context, one, "socket", &one, 1, "async_send"));
}
extern "C" void call_ended(TrackedHandler &one) { ASIO_HANDLER_COMPLETION((one)); }
"""


def test_without_the_agent_it_is_one_load_and_one_branch(tmp_path):
    (tmp_path / "calls.cpp").write_text(SOURCE)
    subprocess.run(["g++", "-std=c++11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIE", "-fcf-protection=none",
                    f"-I{ROOT / 'common' / 'include'}", "-c", "calls.cpp"], cwd=tmp_path, check=True)
    paths = {name: path_without_agent(body)
             for name, body in instructions(tmp_path / "calls.o").items() if name.startswith("call_")}
    assert paths == {"call_begun": (1, 1), "call_ended": (1, 1)}
