"""Programs that hang name their suspects, with file and line; three healthy programs name none."""

import json
import os
import pathlib
import re
import signal
from collections import Counter

import pytest
from conftest import PATIENCE, asynctrace, program, tasks, traced, user_place
from pty_session import wait_until


def hangs(tmp_path, *arguments):
    return traced(program("hangs"), *arguments, segment_dir=tmp_path)


def dump(target, *options):
    return json.loads(asynctrace("dump", "--format", "json", *options, target.pid, env=target.env).stdout)


def settled(target):
    """A dump between two polls: a task says that it is stuck a moment before its poll has returned."""
    found = []

    def all_wait():
        found[:] = [dump(target)]
        return all(task["state"] == "waiting" for task in tasks(found[0]))

    wait_until(all_wait, "all tasks wait")
    return found[0]


def text(target, *options):
    return asynctrace("dump", *options, target.pid, env=target.env).stdout


def truth(target, kind):
    """The only place at which that kind of leaf waits."""
    (place,) = {rest.split(" ")[0] for rest in target.words("LEAF") if rest.split(" ", 1)[1] == kind}
    return place


def places(document, ids):
    tasks = {task["id"]: task for task in document["tasks"]}
    leaves = [leaf for task in ids for leaf in tasks[task]["leaves"] if leaf["confirmed"]]
    return Counter(user_place(document, leaf["stack"]) for leaf in leaves)


def kinds(document):
    return [suspect["kind"] for suspect in document["suspects"]]


def user_places(document, task):
    """Of all of the user's functions on the way to where the task waits."""
    (task,) = [found for found in document["tasks"] if found["id"] == task]
    frames = [document["frames"][frame] for leaf in task["leaves"] for frame in document["stacks"][leaf["stack"]]]
    return {user_place({"frames": [frame], "stacks": [[0]]}, 0) for frame in frames if frame["class"] == "user"}


@pytest.mark.parametrize("runtime", ["multi", "current"])
def test_a_lost_wake_up(tmp_path, runtime):
    """One waker is dropped by the future itself, one later by somebody else; a third task joins the first."""
    with hangs(tmp_path, "lost_wake", runtime) as target:
        document = settled(target)
        assert kinds(document) == ["no_waker", "no_waker", "waits_on_suspect"]
        lost = [task for suspect in document["suspects"][:2] for task in suspect["tasks"]]
        (forgetful,) = [task for task in lost if truth(target, "Forgetful") in user_places(document, task)]
        (deposit,) = [task for task in lost if truth(target, "Deposit") in user_places(document, task)]
        assert {forgetful, deposit} == set(lost)
        joiner = document["suspects"][2]
        assert places(document, joiner["tasks"]) == {truth(target, "JoinHandle"): 1}
        assert joiner["evidence"] == f"waits for suspect task {forgetful} (JoinHandle)"
        shown = text(target)
        assert shown.count("nothing can wake it (its waker was dropped)") == 2
        assert truth(target, "Forgetful") in shown and truth(target, "Deposit") in shown
        segment = target.kill()
    again = json.loads(asynctrace("dump", "--format", "json", segment).stdout)
    assert again["suspects"] == document["suspects"]
    assert truth(target, "Deposit") in user_places(again, deposit)


@pytest.mark.parametrize("runtime", ["multi", "current"])
def test_tasks_that_join_each_other(tmp_path, runtime):
    with hangs(tmp_path, "join_cycle", runtime) as target:
        document = settled(target)
        assert kinds(document) == ["deadlock"]
        (deadlock,) = document["suspects"]
        a, b = deadlock["tasks"]
        assert places(document, [a, b]) == {truth(target, "JoinHandle"): 2}
        assert deadlock["evidence"] == f"task {a} waits for task {b} (JoinHandle); task {b} waits for task {a} (JoinHandle)"
        assert re.search(rf"1\. deadlock, 2 tasks, .*\n   task {a}\n(.*\n)+?.*JoinHandle of task {b}\n", text(target))


def test_a_sender_that_never_sends_is_no_evidence(tmp_path):
    with hangs(tmp_path, "never_sent") as target:
        document = settled(target)
        assert document["suspects"] == []
        inside = [task for group in document["groups"] if group["class"] == "inside" for task in group["tasks"]]
        assert places(document, inside) == target.leaves()
        assert text(target).index("INSIDE") < text(target).index(truth(target, "mpsc recv"))


def test_tasks_that_lock_in_opposite_order(tmp_path):
    with hangs(tmp_path, "mutex_deadlock") as target:
        document = settled(target)
        locking = [task["id"] for task in document["tasks"] for leaf in task["leaves"] if leaf["kind"] == "Mutex lock"]
        assert places(document, locking) == {truth(target, "Mutex lock"): 2}


@pytest.mark.parametrize("scenario", ["healthy_accept", "healthy_interval", "healthy_ctrl_c"])
@pytest.mark.parametrize("runtime", ["multi", "current"])
def test_healthy_programs_have_none(tmp_path, scenario, runtime):
    with hangs(tmp_path, scenario, runtime) as target:
        for _ in range(3):
            assert dump(target)["suspects"] == []
        assert "SUSPECTS" not in text(target)


def blocked_places(document):
    """Of the tasks of blocked_worker suspects: the user's innermost place on their thread's stack."""
    tasks = {task["id"]: task for task in document["tasks"]}
    blocked = [suspect for suspect in document["suspects"] if suspect["kind"] == "blocked_worker"]
    return [user_place(document, tasks[suspect["tasks"][0]]["running_stack"]) for suspect in blocked]


def blocked_functions(document):
    tasks = {task["id"]: task for task in document["tasks"]}
    stacks = [document["stacks"][tasks[suspect["tasks"][0]]["running_stack"]] for suspect in document["suspects"]]
    user = [[document["frames"][frame] for frame in stack if document["frames"][frame]["class"] == "user"] for stack in stacks]
    return [frames[-1]["function"] for frames in user if frames]


def wait_until_blocked(target, how="sleep"):
    """The program says that it is about to block; when it does is seen from outside only."""
    place, tid = target.words("BLOCKED")[0].split()
    if how == "spin":
        # Of a loop that does nothing the compiler keeps no line.
        wait_until(lambda: blocked_functions(dump(target, "--blocked", "1us")) == ["hangs::spin_on"], "the thread spins")
    else:
        sleeps = pathlib.Path(f"/proc/{target.pid}/task/{tid}/syscall")
        wait_until(lambda: not sleeps.read_text().startswith("running"), "the thread sleeps")
    return place, tid


@pytest.mark.parametrize("runtime", ["multi", "current"])
@pytest.mark.parametrize("how", ["sleep", "spin", "epoll"])
def test_a_blocked_thread(tmp_path, runtime, how):
    """Beside it block a spawn_blocking closure, a block_on and a block_in_place, which all may."""
    with hangs(tmp_path, "blocked", runtime, how) as target:
        place, tid = wait_until_blocked(target, how)
        document = dump(target, "--blocked", "1us")
        assert kinds(document) == ["blocked_worker"]
        (suspect,) = document["suspects"]
        if how == "spin":
            assert blocked_functions(document) == ["hangs::spin_on"]
        else:
            assert blocked_places(document) == [place]
        what, rest = suspect["evidence"].split(": ", 1)
        assert what == ("worker" if runtime == "multi" else "thread") + f" tid {tid}"
        assert re.match(rf"\S+ in one poll of task {suspect['tasks'][0]}\b", rest)
        scheduled = sum(task["state"] == "scheduled" for task in document["tasks"])
        assert 1 <= scheduled <= 4 and (runtime == "multi" or scheduled == 4)
        behind = "which other workers may take" if runtime == "multi" else "behind it"
        assert re.search(rf"; {scheduled} tasks? scheduled,? {behind}$", rest)
        # Whatever sleeps is read as it lies; what runs is stopped, and the dump says for how long.
        stopped = [found["message"] for found in document["diagnostics"] if found["code"] == "thread_stopped"]
        assert len(stopped) == (how == "spin")
        shown = text(target, "--blocked", "1us")
        assert suspect["evidence"].split(" in one")[0].split(":")[0] in shown and "[native stack]" in shown and (how == "spin" or place in shown)
        assert kinds(dump(target, "--blocked", "1h")) == []
        target.process.stdin.close()
        assert target.process.wait(PATIENCE) == 0, "interrupted"


def test_a_thread_that_may_not_be_stopped(tmp_path):
    with hangs(tmp_path, "blocked", "current", "spin") as target:
        document = dump(target, "--blocked", "1us", "--no-stop")
        assert kinds(document) == ["blocked_worker"]
        assert "stack unknown: it runs, and --no-stop leaves it alone" in text(target, "--blocked", "1us", "--no-stop")
        assert not any(found["code"] == "thread_stopped" for found in document["diagnostics"])


def test_a_stopped_process_stays_stopped(tmp_path):
    with hangs(tmp_path, "blocked", "current", "spin") as target:
        wait_until_blocked(target, "spin")
        state = lambda: pathlib.Path(f"/proc/{target.pid}/stat").read_text().rpartition(")")[2].split()[0]
        os.kill(target.pid, signal.SIGSTOP)
        wait_until(lambda: state() == "T", "stopped")
        assert blocked_functions(dump(target, "--blocked", "1us")) == ["hangs::spin_on"]
        assert state() == "T"
        os.kill(target.pid, signal.SIGCONT)
        wait_until(lambda: state() in "RS", "continued")


def test_a_dead_process_has_no_stack_but_says_so(tmp_path):
    with hangs(tmp_path, "blocked", "current", "sleep") as target:
        _, tid = wait_until_blocked(target)
        segment = target.kill()
    shown = asynctrace("dump", "--blocked", "1us", segment).stdout
    assert f"thread tid {tid}: " in shown and "stack unknown: the process has ended" in shown
