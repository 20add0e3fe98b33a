"""io_uring through a shared liburing: what has been submitted and has not completed."""

from collections import Counter

import pytest
from conftest import BUILD, asynctrace, differences, lacking, traced
from test_loops import watcher
from test_schema import check


@pytest.mark.parametrize("by", ["run", "preload"])
def test_operations_that_wait(tmp_path, by):
    with traced(BUILD / "test" / "targets" / "loops" / "uring", segment_dir=tmp_path, by=by) as target:
        if target.words("REFUSED"):
            lacking(f"io_uring_setup: {target.words('REFUSED')[0]}")
        dump = target.dump()
        text = asynctrace("dump", target.pid, env=target.env).stdout
    assert target.process.returncode == 0
    check(dump)
    assert {rest.rsplit(" ", 1)[1] for rest in target.words("CHECK")} == {"yes"}, target.lines
    found = Counter(watcher(dump, task) for task in dump["tasks"])
    assert differences(Counter(target.words("LEAF")), found) == []
    assert dump["suspects"] == [] and dump["lost"]["leaves"] == 0 and dump["diagnostics"] == []
    assert [(runtime["name"], runtime["tasks"]) for runtime in dump["runtimes"]] == [("io_uring", sum(found.values()))]

    leaves = {task["leaves"][0]["descriptor"]: (task, task["leaves"][0]) for task in dump["tasks"]}
    assert {f"{fd} {leaf['kind']}" for fd, (_, leaf) in leaves.items() if fd is not None} == set(target.words("FD"))
    polls = {f"{fd} {task['polls']}" for fd, (task, _) in leaves.items() if task["polls"] != 0}
    assert polls == set(target.words("FIRED"))
    assert leaves[None][1]["resource"].startswith("timer, due in ")
    resources = {leaf["kind"]: leaf["resource"] for fd, (_, leaf) in leaves.items() if fd}
    assert resources["receive"] == "unix stream, connected" and resources["read"] == "pipe, read end"
    assert resources["accept"].startswith("tcp ") and resources["accept"].endswith(", listening")
    for fd, (_, leaf) in leaves.items():
        if fd:
            assert f"{leaf['kind']}  fd {fd}: {leaf['resource']}\n" in text
