"""fork and exec: each process image writes its own file and no other."""

import hashlib
import json
import subprocess
from collections import Counter

import pytest
from conftest import PATIENCE, asynctrace, confirmed_places, differences, program, tasks
from processes import environment, section_use

# Small enough to hash the whole of it.
SMALL = {"ASYNCTRACE_MAX_SIZE": str(4 << 20)}


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "segments"
    path.mkdir(mode=0o700)
    return path


class Talk:
    """With a program that says what it is about to do and waits for a line; killed at the end, its children too."""

    def __init__(self, mode, env):
        self.process = subprocess.Popen([program("forks"), mode], env=env, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.leaves = Counter()

    def until(self, word):
        """What follows `word`; collects leaves on the way."""
        for line in self.process.stdout:
            first, _, rest = line.rstrip("\n").partition(" ")
            if first == "LEAF":
                self.leaves[rest.split(" ")[0]] += 1
            if first == word:
                return int(rest)
        pytest.fail(f"ended before {word}")

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()  # ends the child, and with it the parent
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.stdout.close()


def segment_of(directory, pid):
    files = list(directory.glob(f"*.{pid}.*.atrace"))
    assert len(files) == 1, files
    return files[0]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def dump(pid, env):
    return json.loads(asynctrace("dump", "--format", "json", pid, env=env).stdout)


def states(pid, env):
    """Of all files of that pid, as `asynctrace ps` has them."""
    rows = [line.split() for line in asynctrace("ps", env=env).stdout.splitlines()]
    return sorted(row[1] for row in rows if row[0] == str(pid))


def test_a_forked_child_that_goes_on_has_its_own_segment(directory):
    env = environment(directory, **SMALL)
    with Talk("fork", env) as talk:
        parent = talk.until("FORKING")
        file = segment_of(directory, parent)
        before = digest(file)
        expected = confirmed_places(dump(parent, env))
        assert sum(expected.values()) == 3
        talk.go_on()
        child = talk.until("CHILD")
        assert list(directory.iterdir()) == [file], "a child that has not done anything needs no file"
        talk.go_on()
        assert talk.until("READY") == child != parent
        # The parent is blocked in the poll that forked.
        assert digest(file) == before

        found = dump(child, env)
        assert len(talk.leaves) == 3 and sum(talk.leaves.values()) == 7
        assert not differences(talk.leaves, confirmed_places(found))
        assert set(found["lost"].values()) == {0}
        assert found["process"]["pid"] == child
        assert states(child, env) == states(parent, env) == ["running"]
        assert confirmed_places(dump(parent, env)) == expected
        assert {task["address"] for task in tasks(dump(parent, env))} & {task["address"] for task in tasks(found)}
        talk.process.stdin.close()
        assert talk.until("CHILD_STATUS") == 0
        assert talk.process.wait(PATIENCE) == 0
    assert digest(file) != before, "the parent went on writing its own"
    assert states(child, env) == states(parent, env) == ["exited"]


def test_follow_none_leaves_children_alone(directory):
    with Talk("fork", environment(directory, ASYNCTRACE_FOLLOW="none", **SMALL)) as talk:
        parent = talk.until("FORKING")
        file = segment_of(directory, parent)
        before = digest(file)
        talk.go_on()
        talk.until("CHILD")
        talk.go_on()
        talk.until("READY")
        assert sum(talk.leaves.values()) == 7
        assert list(directory.iterdir()) == [file]
        assert digest(file) == before
        talk.process.stdin.close()
        assert talk.until("CHILD_STATUS") == 0
        assert talk.process.wait(PATIENCE) == 0


def test_a_child_that_finds_no_room_runs_untraced(directory):
    with Talk("fork", environment(directory, **SMALL)) as talk:
        parent = talk.until("FORKING")
        file = segment_of(directory, parent)
        before = digest(file)
        directory.chmod(0o755)  # no longer a directory that is ours alone
        talk.go_on()
        talk.until("CHILD")
        talk.go_on()
        talk.until("READY")
        assert list(directory.iterdir()) == [file] and digest(file) == before
        talk.process.stdin.close()
        assert talk.until("CHILD_STATUS") == 0
        assert talk.process.wait(PATIENCE) == 0


def test_exec_begins_a_new_file(directory):
    env = environment(directory, **SMALL)
    with Talk("exec", env) as talk:
        pid = talk.until("EXECING")
        old = segment_of(directory, pid)
        talk.go_on()
        assert talk.until("READY") == pid
        new, = set(directory.glob(f"*.{pid}.*.atrace")) - {old}
        assert states(pid, env) == ["exec'ed", "running"]
        assert not differences(talk.leaves, confirmed_places(dump(pid, env)))
        places = confirmed_places(json.loads(asynctrace("dump", "--format", "json", old, env=env).stdout))
        assert sum(places.values()) == 1 and not places & talk.leaves
        assert section_use(old)["tasks"] > 0 < section_use(new)["tasks"]
    assert states(pid, env) == ["ended", "exited"]
