"""Futures walked in memory, by debug info alone, are those on the stacks that the agent saw."""

import json
import subprocess

import pytest
from conftest import BUILD, asynctrace, program, settled, tasks, traced

BODIES = ("async fn ", "async block in ", "async closure in ")


def walked(target):
    command = [BUILD / "test" / "walk_tasks", target.segment(), str(target.pid)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return {task["id"]: task for task in map(json.loads, result.stdout.splitlines())}


def seen(dump, stack):
    """The async bodies of a stack: function, file and line."""
    frames = [dump["frames"][index] for index in dump["stacks"][stack]]
    return [[f["function"], f["file"], f["line"]] for f in frames if f["function"].startswith(BODIES)]


def agrees(walk, stack):
    """An await inside a macro has no line of its own file in debug info; those of the program's own do."""
    return len(walk) == len(stack) and all(
        a == b and (line in (None, seen_line) or "/src/bin/" not in file)
        for (a, file, line), (b, _, seen_line) in zip(walk, stack)
    )


@pytest.mark.parametrize("toolchain", ["debian", "second"])
@pytest.mark.parametrize("runtime", ["multi", "current"])
def test_every_future_of_every_leaf(tmp_path, runtime, toolchain):
    with traced(program("leaves", "dev", toolchain), runtime, segment_dir=tmp_path) as target:
        dump = settled(target)
        walks = walked(target)
    waiting = [task for task in tasks(dump) if task["kind"] == "task"]
    assert len(waiting) > 40
    without_line = 0
    for task in waiting:
        walk = walks[task["id"]]
        assert not walk["incomplete"]
        stacks = [seen(dump, leaf["stack"]) for leaf in task["leaves"] if leaf["confirmed"]]
        for stack in stacks:
            assert any(agrees(chain, stack) for chain in walk["chains"]), (task["type"], stack, walk["chains"])
        for chain in walk["chains"]:
            assert any(agrees(chain, stack) for stack in stacks), (task["type"], chain, stacks)
        own = [line for chain in walk["chains"] for _, file, line in chain if "/src/bin/" in file]
        without_line += None in own
    # select! (3), join! (3) and try_join!, each task once.
    assert without_line == 7


def test_leaves_that_the_agent_cannot_see(tmp_path):
    """Futures that drop their wakers below a combinator: debug info shows it, and says that it did."""
    with traced(program("hangs", "dev"), "forgetful_group", "multi", segment_dir=tmp_path) as target:
        dump = settled(target)
        text = asynctrace("dump", target.pid, env=target.env).stdout
        (truth,) = [place for place in target.words("LEAF") if place.endswith("Forgetful")]
        dead = json.loads(asynctrace("dump", "--format", "json", target.kill(), env=target.env).stdout)
    (task,) = [task for task in tasks(dump) if "::forget" in (task["type"] or "")]
    found = [leaf for leaf in task["leaves"] if leaf.get("source") == "census"]
    assert [leaf["confirmed"] for leaf in found] == [True] * 2
    assert {leaf["reason"] for leaf in found} == {"from debug info: the agent did not see it"}
    bodies = {tuple(map(tuple, seen(dump, leaf["stack"]))) for leaf in found}
    ((_, file, line),) = bodies.pop()
    assert not bodies and f"{file}:{line}".endswith(truth.split(" ")[0])
    assert "[from debug info]" in text and dump["source"] == "both"
    assert dead["source"] == "agent"
