"""`run --hooks`: a library that the agent does not know, described by its user."""

from collections import Counter

import pytest
from conftest import asynctrace, traced
from processes import compile_c, environment, run

LIBRARY = """
#include <poll.h>
struct drum { int fd, is_armed; void (*callback)(struct drum *, int); };
void drum_init(struct drum *drum, void (*callback)(struct drum *, int)) { drum->callback = callback; }
int drum_watch(struct drum *drum, int fd) { drum->fd = fd; return fd < 0 ? -1 : !(drum->is_armed = 1); }
void drum_stop(struct drum *drum) { drum->is_armed = 0; }
void *drum_callback(struct drum *drum) { return (void *)drum->callback; }
int drum_later(int, int, int, int, int, int, void (*callback)(struct drum *, int), struct drum *drum);
int drum_later(int a, int b, int c, int d, int e, int f, void (*callback)(struct drum *, int), struct drum *drum) {
  drum->callback = callback;
  return a + b + c + d + e + f - 21;
}
void drum_run(struct drum **drums, int count) {
  struct pollfd fds[8];
  for (int left = 1; left > 0;) {
    left = 0;
    for (int i = 0; i < count; i++)
      fds[i] = (struct pollfd){drums[i]->is_armed ? drums[i]->fd : -1, POLLIN, 0}, left += drums[i]->is_armed;
    if (left == 0 || poll(fds, (nfds_t)count, -1) < 0) return;
    for (int i = 0; i < count; i++)
      if (fds[i].revents) drums[i]->callback(drums[i], fds[i].fd);
  }
}
"""

PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
struct drum { int fd, is_armed; void (*callback)(struct drum *, int); };
void drum_init(struct drum *, void (*)(struct drum *, int));
int drum_watch(struct drum *, int);
void drum_stop(struct drum *);
void *drum_callback(struct drum *);
int drum_later(int, int, int, int, int, int, void (*)(struct drum *, int), struct drum *);
void drum_run(struct drum **, int);
static int beats;
static void on_beat(struct drum *drum, int fd) {
  char byte;
  (void)drum;
  if (read(fd, &byte, 1) == 1 && ++beats == 2) printf("READY %d\\n", (int)getpid()), fflush(stdout);
}
static void on_end(struct drum *drum, int fd) { (void)drum, (void)fd; exit(0); }
static void later(struct drum *drum, int fd) { (void)drum, (void)fd; }
int main(void) {
  int ends[2], quiet[2];
  if (pipe(ends) != 0 || pipe(quiet) != 0 || write(ends[1], "ab", 2) != 2) return 1;
  struct drum beat, end, stopped, refused, postponed;
  drum_init(&beat, on_beat), drum_init(&end, on_end), drum_init(&stopped, on_beat), drum_init(&refused, on_beat);
  printf("REFUSED %d\\n", drum_watch(&refused, -1));
  drum_watch(&stopped, quiet[0]), drum_stop(&stopped);
  printf("OWN %d\\n", drum_callback(&beat) == (void *)on_beat);
  printf("LATER %d\\n", drum_later(1, 2, 3, 4, 5, 6, later, &postponed));
  drum_watch(&beat, ends[0]), drum_watch(&end, 0);
  drum_run((struct drum *[]){&beat, &end}, 2);
  return 0;
}
"""

HOOKS = """
[[library]]
name = "drum"
soname = "libdrum.so"

[[library.function]]
name = "drum_init"
role = "set-callback"
watcher = 0
callback = 1
kind = "beat"
class = "io"
repeats = true

[[library.function]]
name = "drum_watch"
role = "arm"
watcher = 0
fails_by_result = true

[[library.function]]
name = "drum_stop"
role = "disarm"
watcher = 0

[[library.function]]
name = "drum_callback"
role = "callback-of"
callback = "result"

[[library.function]]
name = "drum_later"
role = "once"
callback = 6
kind = "later"
class = "timer"
fails_by_result = true

[[library.function]]
name = "drum_run"
role = "loop"
watcher = 0
"""


def drum(tmp_path):
    compile_c(tmp_path, "libdrum.so", LIBRARY, "-shared", "-fPIC", "-Wl,-soname,libdrum.so.1")
    (tmp_path / "libdrum.so.1").symlink_to("libdrum.so")
    return compile_c(tmp_path, "drums", PROGRAM, "-g", f"-L{tmp_path}", "-ldrum", f"-Wl,-rpath,{tmp_path}")


def test_a_library_of_the_user_s(tmp_path, monkeypatch):
    (tmp_path / "hooks.toml").write_text(HOOKS)
    monkeypatch.setenv("ASYNCTRACE_HOOKS", str(tmp_path / "hooks.toml"))
    program = drum(tmp_path)
    segments = tmp_path / "segments"
    segments.mkdir()
    with traced(program, segment_dir=segments) as target:
        assert (target.words("REFUSED"), target.words("OWN"), target.words("LATER")) == (["-1"], ["1"], ["0"])
        dump = target.dump()
        found = {task["type"]: (task["leaves"][0]["kind"], task["leaves"][0]["class"]) for task in dump["tasks"]
                 if task["leaves"]}
        assert found == {"on_beat": ("beat", "io"), "on_end": ("beat", "io"), "later": ("later", "timer")}
        assert [(runtime["name"], runtime["workers"]) for runtime in dump["runtimes"]] == [("drum", 1)]
        polls = Counter({task["type"]: task["polls"] for task in dump["tasks"]})
        assert polls["on_beat"] >= 1 and polls["on_end"] == polls["later"] == 0
    assert target.process.returncode == 0


BAD = [
    ("[[library]", "1: not TOML", "toml.io"),
    ("library = 3", "1: library is no array of tables", "[[...]]"),
    ("[[library]]\nname = 'a'\nsoname = 'b'\n", "1: no function", "[[function]]"),
    (HOOKS.replace('"loop"', '"lop"'), "41: unknown role \"lop\"",
     "one of arm, callback-of, disarm, free, loop, once, set-callback"),
    (HOOKS.replace("callback = 6", "callback = 99"), "34: callback is no argument", "a number from 0 to 13"),
    (HOOKS.replace("callback = 6", "call = 6"), "34: unknown key \"call\"", "one of name, role, watcher, callback"),
    (HOOKS.replace('callback = "result"', ""), "26: no callback, which this role needs", "write callback = ..."),
    (HOOKS.replace('callback = "result"', "callback = 3"), "26: the callback is given back, not passed", '"result"'),
    (HOOKS.replace("repeats = true", "repeats = 1"), "13: repeats is no yes or no", "true or false"),
    (HOOKS.replace('"beat"', '"a,b"'), "11: kind is no name", "without commas"),
    (HOOKS * 9, "338: too many libraries", "8 at most"),
]


@pytest.mark.parametrize("text, message, remedy", BAD, ids=[message for _, message, _ in BAD])
def test_a_file_that_is_wrong_is_told_by_line(tmp_path, text, message, remedy):
    (tmp_path / "hooks.toml").write_text(text)
    result = asynctrace("run", "--hooks", tmp_path / "hooks.toml", "true", check=False)
    assert result.returncode == 125, result.stderr
    assert f"hooks.toml:{message}" in result.stderr
    assert remedy in result.stderr


def test_a_file_that_is_not_there():
    result = asynctrace("run", "--hooks", "/nowhere/hooks.toml", "true", check=False)
    assert result.returncode == 125 and "/nowhere/hooks.toml: No such file or directory" in result.stderr


def test_rows_that_nobody_wrote_turn_the_agent_off(tmp_path):
    """The program goes on."""
    for rows in ("x", "a,b,c,d,1,2\n", "drum,libdrum.so,drum_run,k,99,0,0,0,0,0,0,0,0,\n"):
        env = {**environment(tmp_path), "ASYNCTRACE_HOOK_ROWS": rows}
        assert run(["/bin/echo", "goes on"], env).stdout == "goes on\n"
