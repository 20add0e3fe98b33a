"""Attach to a program on Asio, and detach: the census of its coroutines and callbacks stays what it was."""

from collections import Counter

from attaching import running
from conftest import BUILD
from test_coroutines import chains_of_asio, operations_of_asio, truth_of_asio
from test_schema import check


def seen(program):
    dump = program.dump()
    check(dump)
    assert dump["suspects"] == []
    assert [runtime["name"] for runtime in dump["runtimes"]] == ["asio"]
    assert all(one["verified"] and one["sure"] for task in dump["tasks"] for one in task["coroutines"])
    return dump["source"], (chains_of_asio(dump), operations_of_asio(dump)[0])


def connect(program):
    program.tell()
    program.until("CONNECTED")


def test_the_same_with_the_agent_and_after_it(tmp_path):
    """Of what was armed before the agent came, and of what it sees armed; nothing is missed, nothing is there twice."""
    with running([BUILD / "test" / "targets" / "coroutines" / "asio"], tmp_path) as program:
        lines, _ = program.until("READY")
        chains, operations = truth_of_asio(lines)
        silent = min(chain for chain in chains if chain[0] == "async_read_some")  # on the first of its lines
        assert seen(program) == ("census", (chains, operations))
        program.attach()
        assert seen(program) == ("both", (chains, operations))
        connect(program)
        chains += Counter([silent])
        assert seen(program) == ("both", (chains, operations))
        program.detach()
        assert seen(program) == ("census", (chains, operations))
        connect(program)
        chains += Counter([silent])
        assert seen(program) == ("census", (chains, operations))
