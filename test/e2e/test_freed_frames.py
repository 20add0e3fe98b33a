"""With the agent, frames of coroutines that were freed while they were suspended are not found, whatever the program's
allocator leaves of them. clang's, for gcc's own code marks those that it destroys."""

import os

import pytest
from attaching import running
from conftest import AGENT, BUILD
from test_coroutines import dump_of

CHURN = BUILD / "test" / "targets" / "coroutines" / "churn_clang"
ALLOCATOR = "libjemalloc.so.2"


def frames(lines):
    return {rest.split(" ")[0] for word, rest in lines if word == "FRAME"}


def found(program):
    return {one["address"] for task in dump_of(program.pid)["tasks"] for one in task.get("coroutines", [])}


def with_allocator(*before):
    return {**os.environ, "LD_PRELOAD": ":".join(map(str, (*before, ALLOCATOR)))}


@pytest.mark.parametrize("by", ["nobody", "agent"])
def test_chains_that_were_destroyed_while_suspended(tmp_path, by, quick):
    counts = (2000, 400) if quick else (20000, 4000)
    env = {**with_allocator(*([AGENT] if by == "agent" else [])), "ASYNCTRACE_DIR": str(tmp_path)}
    with running([CHURN, *counts], tmp_path, env=env) as program:
        lines, _ = program.until("READY")
        seen, expected = found(program), frames(lines)
        assert "libjemalloc" in open(f"/proc/{program.pid}/maps").read()
    assert len(expected) > 1000
    # Alone nothing tells them from the rest, and they say so: see test_another_allocator.
    assert seen == expected if by == "agent" else seen > expected


def test_what_is_freed_after_the_agent_was_attached(tmp_path):
    with running([CHURN, 2000, 400, "again"], tmp_path, env=with_allocator()) as program:
        program.until("READY")
        program.attach()
        program.tell()
        lines, _ = program.until("READY")
        seen = {one["address"] for task in program.dump()["tasks"] for one in task.get("coroutines", [])}
        assert len(seen) > 500 and seen == frames(lines)
        program.detach()
        program.tell()
        lines, _ = program.until("READY")
        assert found(program) > frames(lines), "nobody clears any more"
