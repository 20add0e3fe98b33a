"""`asynctrace attach` and `detach` are killed at any of their steps; the target goes on as if nothing had been."""

import itertools
import signal
import subprocess

import pytest
from attaching import busy
from conftest import BUILD, CLI, PATIENCE

KILLER = BUILD / "test" / "kill_at_call.so"
DENSE = 24  # steps that are tried closely: to stop the thread, to make it go; then come those of the loader


def killed_at(step, verb, target):
    """Whether it came so far."""
    env = {**target.env, "LD_PRELOAD": str(KILLER), "KILL_AT": str(step)}
    result = subprocess.run([CLI, verb, str(target.pid)], env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode in (0, -signal.SIGKILL), result.stderr
    return result.returncode != 0


def steps(quick):
    return itertools.chain(range(1, DENSE + 1, 3 if quick else 1), itertools.count(DENSE + 1, 20 if quick else 1))


@pytest.mark.parametrize("verb", ["attach", "detach"])
def test_killed(tmp_path, verb, quick):
    tried = 0
    for step in steps(quick):
        with busy("wait", tmp_path, threads=1) as target:
            if verb == "detach":
                target.attach()
            came_so_far = killed_at(step, verb, target)
            assert target.still_runs()
            # Not a lock is left behind, whatever it had begun: the next one finds its way.
            if came_so_far and verb == "detach":
                target.asynctrace("detach", target.pid, check=False)
            finished = target.asynctrace("attach", target.pid, check=False)
            assert finished.returncode == 0 or "it is traced already" in finished.stderr, finished.stderr
            said = target.end()
            assert int(said["TURNS"]) > 0 and int(said["INTERRUPTED"]) <= 1
        if not came_so_far:
            break
        tried += 1
    assert tried >= (5 if quick else 15)
