"""Watchers for which there is no room, and what cannot be looked up any more once a process is dead."""

import json
from collections import Counter

from conftest import asynctrace, traced
from processes import compile_c
from test_loop_threads import HEAD, calls
from test_loops import target_of

# A thousand timers, and for each line of stdin 900 of them less and one other more.
MANY = HEAD + """
enum { kTimers = 1000, kFreed = 900 };
static struct event *timers[kTimers];
static void on_other(int fd, short what, void *base) { (void)fd, (void)what, (void)base; }
static void on_line(int fd, short what, void *base) {
  char line[16];
  (void)what;
  if (read(fd, line, sizeof(line)) <= 0) exit(0);
  for (int i = 0; i < kFreed; i++) event_free(timers[i]);
  event_add(evtimer_new(base, on_other, base), &hour);
  printf("FREED\\n"), fflush(stdout);
}
int main(void) {
  struct event_base *base = event_base_new();
  event_add(event_new(base, 0, EV_READ | EV_PERSIST, on_line, base), 0);
  event_base_loop(base, EVLOOP_NONBLOCK);  // the loop takes a record, too
  for (int i = 0; i < kTimers; i++) timers[i] = arm(base);
  ready();
  event_base_dispatch(base);
  return 0;
}
"""


def test_watchers_without_room_are_counted(tmp_path, monkeypatch):
    """And once there is room again new ones are seen."""
    program = compile_c(tmp_path, "many", MANY, "-g", "-levent")
    segments = tmp_path / "segments"
    segments.mkdir()
    monkeypatch.setenv("ASYNCTRACE_MAX_SIZE", str(2 << 20))
    with traced(program, segment_dir=segments, by="preload") as target:
        full = target.dump()
        text = asynctrace("dump", target.pid, env=target.env).stdout
        target.process.stdin.write("go on\n")
        target.process.stdin.flush()
        assert target.process.stdout.readline() == "FREED\n"
        after = target.dump()
    seen = calls(full)["on_timer"]
    assert 100 < seen < 1000 and calls(full)["on_line"] == 1
    assert full["lost"]["watchers"] == 1000 - seen
    assert full["lost"]["tasks"] == full["lost"]["leaves"] == 0
    (note,) = [known for known in full["diagnostics"] if known["code"] == "lost_watchers"]
    assert note["message"] == f"watchers of poll loops not recorded (at most 65,536 are): {1000 - seen}"
    assert note["remedy"] == "asynctrace run --max-size 2G" and note["message"] in text
    assert calls(after)["on_other"] == 1 and calls(after)["on_timer"] == max(0, seen - 900)
    assert after["lost"] == full["lost"]


def test_what_cannot_be_looked_up_in_a_dead_process(tmp_path):
    with traced(target_of("glib"), segment_dir=tmp_path) as target:
        alive = target.dump()
        segment = target.kill()
    dead = json.loads(asynctrace("dump", "--format", "json", segment).stdout)
    text = asynctrace("dump", segment).stdout

    def reasons(dump):
        return Counter(leaf["reason"] for task in dump["tasks"] if task["type"] == "dispatch_never" for leaf in task["leaves"])

    assert reasons(alive) == Counter([None])
    # Two were attached; the end of one was not seen.
    assert reasons(dead) == {"the end of such a source is not seen: it may be over": 2}
    assert "source, calls dispatch_never (may have ended)" in text
