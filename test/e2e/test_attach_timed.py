"""What a thread waits for with a time-out ends in its time, however often it is held meanwhile."""

import pathlib
import select

import pytest
from attaching import running
from conftest import BUILD, lacking

TIMED = BUILD / "test" / "targets" / "native" / "timed"
CALLS = ["epoll_wait", "epoll_pwait", "poll", "ppoll", "select", "nanosleep", "clock_nanosleep"]


@pytest.mark.parametrize("call", CALLS)
def test_an_interrupted_wait_goes_on_for_the_time_that_is_left(tmp_path, call, quick):
    """One that began anew each time would go on for ever: nothing ends the rounds but the end of the wait."""
    if not pathlib.Path("/proc/self/sched").exists():
        lacking("the kernel does not tell since when a thread sleeps")
    time_out = 300 if quick else 1000  # ms, several rounds
    with running([TIMED, call, time_out], tmp_path) as target:
        target.until("READY")
        rounds = 0
        while not select.select([target.process.stdout], [], [], 0)[0]:
            target.attach()
            target.detach()
            rounds += 1
        lines, waited = target.until("WAITED")
        assert rounds > 1 and dict(lines)["INTERRUPTED"] == "0"
        assert int(waited) >= 1000 * time_out, "not a moment too early"
        target.end()
