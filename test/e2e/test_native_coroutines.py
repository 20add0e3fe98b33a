"""C++20 coroutines: the logical chain of each task, whatever is on the stack."""

import pytest
from conftest import BUILD, asynctrace, traced


def native(name):
    path = BUILD / "test" / "targets" / "native" / name
    assert path.exists(), f"{path} is not built"
    return path


def user_lines(dump, stack):
    frames = [dump["frames"][index] for index in dump["stacks"][stack]]
    return [frame["line"] for frame in frames if (frame["file"] or "").endswith("/coroutines.cpp")]


@pytest.mark.parametrize("build", ["coroutines", "coroutines_debug"])
def test_every_task_shows_who_awaits_whom(tmp_path, build):
    with traced(native(build), segment_dir=tmp_path) as target:
        expected = {}
        for rest in target.words("LEAF"):
            name, kind, *lines = rest.split(" ")
            expected[name] = (kind.replace("-", " "), [int(line) for line in lines])
        dump = target.dump()
        text = asynctrace("dump", target.pid, env=target.env).stdout
    assert dump["runtimes"][0]["name"] == "single_thread"
    tasks = {task["name"]: task for task in dump["tasks"]}
    found = {}
    for name, task in tasks.items():
        assert len(task["leaves"]) == 1 and task["leaves"][0]["confirmed"]
        found[name] = (task["leaves"][0]["kind"], user_lines(dump, task["leaves"][0]["stack"]))
    assert found == expected, "the tasks that have ended are gone, the others stand where they await"
    assert tasks["clerk"]["woken_by"] is None or tasks["clerk"]["polls"] > 1
    assert "╼ shop::report() at " in text and "\n  └╼ shop::query(int) at " in text
    assert dump["lost"] == {"leaves": 0, "tasks": 0, "stacks": 0}
