"""`--hooks`: a library that the agent does not know, described by its user."""

import json
import shlex
import subprocess
from collections import Counter

import pytest
import yaml
from attaching import running
from conftest import asynctrace, traced
from processes import compile_c, environment, run

LIBRARY = """
#include <poll.h>
struct drum { int fd, is_armed; void (*callback)(struct drum *, int); };
void drum_init(struct drum *drum, void (*callback)(struct drum *, int)) { drum->callback = callback; }
int drum_watch(struct drum *drum, int fd) { drum->fd = fd; return fd < 0 ? -1 : !(drum->is_armed = 1); }
void drum_stop(struct drum *drum) { drum->is_armed = 0; }
void drum_tune(void) {}
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
int main(int argc, char **argv) {
  int ends[2], quiet[2];
  if (pipe(ends) != 0 || pipe(quiet) != 0 || write(ends[1], "ab", 2) != 2) return 1;
  struct drum beat, end, stopped, refused, postponed, early;
  drum_init(&early, later), drum_watch(&early, quiet[0]);
  for (char go; argc > 1 && puts("WAITING for a line") > 0 && fflush(stdout) == 0;)
    if (read(0, &go, 1) == 1) break;
  (void)argv;
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
    with traced(program, segment_dir=segments(tmp_path)) as target:
        assert (target.words("REFUSED"), target.words("OWN"), target.words("LATER")) == (["-1"], ["1"], ["0"])
        shows_drums(target.dump(), early=1)
    assert target.process.returncode == 0


@pytest.mark.parametrize("form", ["shell", "systemd", "docker", "kubernetes"])
def test_env_hands_it_on(tmp_path, form):
    """What is in the file means nothing to the shell, to systemd, Docker, YAML."""
    odd = "a \"quoted\" $HOME $(HOME) %n \\\\ 'beat';"
    (tmp_path / "hooks.toml").write_text(HOOKS.replace('"beat"', json.dumps(odd)))
    env = {**environment(tmp_path), "ASYNCTRACE_DIR": str(segments(tmp_path))}
    command = ["env", "--format", form, "--hooks", tmp_path / "hooks.toml"]
    rows = value_of(form, "ASYNCTRACE_HOOK_ROWS", asynctrace(*command, env=env).stdout)
    assert rows.startswith(f"drum,libdrum.so,drum_init,{odd},0,") and rows.endswith(";") and rows.count(";") == 7
    env["ASYNCTRACE_HOOK_ROWS"] = rows
    with running([drum(tmp_path)], tmp_path / "segments", env) as target:
        target.until("READY")
        shows_drums(target.dump(), early=1, beat=odd.replace("\\", "\\\\"))
        target.end()


def test_attach_brings_it_along(tmp_path):
    more = HOOKS + "".join(f'\n[[library.function]]\nname = "drum_{name}"\nrole = "disarm"\nwatcher = 0\n'
                           for name in ("tune", "nowhere"))
    (tmp_path / "hooks.toml").write_text(HOOKS)
    (tmp_path / "more.toml").write_text(more)
    with running([drum(tmp_path), "late"], segments(tmp_path)) as target:
        target.until("WAITING")
        hooks = "drum_init, drum_watch, drum_stop, drum_callback, drum_later, drum_run"
        known = f"hooks: {hooks}: seen from now on; callbacks that were set, and what was armed, before are not known"
        said = target.asynctrace("attach", target.pid, "--hooks", tmp_path / "hooks.toml").stderr
        assert said.splitlines()[1:] == [f"asynctrace: {known}"]
        twice = target.asynctrace("attach", target.pid, "--hooks", tmp_path / "hooks.toml", check=False)
        assert twice.returncode == 1 and f"remedy: asynctrace detach {target.pid}" in twice.stderr
        target.detach()
        said = target.asynctrace("attach", target.pid, "--hooks", tmp_path / "more.toml").stderr
        assert said.splitlines()[1:] == [
            f"asynctrace: hooks: {hooks}: known before; what was said of it then counts",
            "asynctrace: hooks: drum_tune: no call of it goes through the dynamic linker, so none is seen",
            "asynctrace: hooks: drum_nowhere: not in the process; seen once its library is loaded"]
        target.detach()
        assert len(target.asynctrace("attach", "-q", target.pid, "--hooks", tmp_path / "more.toml").stderr) == 0
        target.tell()
        target.until("READY")
        shows_drums(target.dump(), early=0)
        target.end()


def test_attach_where_nothing_of_it_is(tmp_path):
    (tmp_path / "hooks.toml").write_text(HOOKS)
    with running(["/bin/cat"], segments(tmp_path)) as target:
        refused = target.asynctrace("attach", target.pid, "--hooks", tmp_path / "hooks.toml", check=False)
        assert refused.returncode == 1 and "no async runtime is in it that asynctrace knows" in refused.stderr
        assert target.still_runs()


def segments(tmp_path):
    path = tmp_path / "segments"
    path.mkdir(mode=0o700)
    return path


def shows_drums(dump, early, beat="beat"):
    """`early`: how many are known that were armed before the program waited."""
    leaves = Counter((task["type"], task["leaves"][0]["kind"], task["leaves"][0]["class"]) for task in dump["tasks"]
                     if task["leaves"])
    assert leaves == Counter({("on_beat", beat, "io"): 1, ("on_end", beat, "io"): 1, ("later", "later", "timer"): 1,
                              **({("later", beat, "io"): early} if early else {})})
    assert [(runtime["name"], runtime["workers"]) for runtime in dump["runtimes"]] == [("drum", 1)]
    polls = Counter({task["type"]: task["polls"] for task in dump["tasks"]})
    assert polls["on_beat"] >= 1 and polls["on_end"] == polls["later"] == 0


def value_of(form, name, lines):
    """As whoever reads these lines has it."""
    if form == "shell":
        return subprocess.run(["/bin/sh", "-c", f'{lines}printf %s "${name}"'], capture_output=True, text=True,
                              check=True).stdout
    if form == "kubernetes":
        (value,) = [one["value"] for one in yaml.safe_load(lines)["env"] if one["name"] == name]
        return value.replace("$$", "$")
    (line,) = [line for line in lines.splitlines() if f"{name}=" in line]
    special, doubled = {"systemd": ("%", "%%"), "docker": ("$", "\\$")}[form]
    (word,) = [word for word in shlex.split(line.replace(doubled, special)) if name in word]
    return word.partition(f"{name}=")[2]


BAD = [
    ("[[library]", "1: not TOML", "toml.io"),
    ("[[[[library]]]]", "1: not TOML", "toml.io"),
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
    (HOOKS.replace('"beat"', '"a\\tb"'), "11: kind is no name", "without commas and control characters"),
    (HOOKS.replace('"beat"', f'"{9000 * "x"}"'), "1: too much text: 9337 bytes", "8191 at most"),
    (HOOKS * 9, "338: too many libraries", "8 at most"),
]


@pytest.mark.parametrize("text, message, remedy", BAD, ids=[message for _, message, _ in BAD])
def test_a_file_that_is_wrong_is_told_by_line(tmp_path, text, message, remedy):
    (tmp_path / "hooks.toml").write_text(text)
    result = asynctrace("run", "--hooks", tmp_path / "hooks.toml", "true", check=False)
    assert result.returncode == 125, result.stderr
    assert f"hooks.toml:{message}" in result.stderr
    assert remedy in result.stderr


def test_a_file_that_is_no_file_of_hooks(tmp_path):
    (tmp_path / "deep.toml").write_text("library = " + 20000 * "[")
    (tmp_path / "deeper.toml").write_text("library = " + 20000 * "{a=")
    (tmp_path / "latin.toml").write_bytes(b"\n# \xe9")
    for path, message in [(tmp_path / "latin.toml", "2: not UTF-8"),
                          (tmp_path / "deep.toml", "too long"), (tmp_path / "deeper.toml", "too long"),
                          ("/dev/zero", "too long"), (tmp_path, "Is a directory"), ("/dev/null", "1: no library")]:
        result = asynctrace("env", "--hooks", path, check=False)
        assert result.returncode == 1 and f"{path}:" in result.stderr and message in result.stderr, result


@pytest.mark.parametrize("verb, argument, status", [("run", "true", 125), ("env", None, 1), ("attach", "1", 1)])
def test_a_file_that_is_not_there(verb, argument, status):
    result = asynctrace(verb, "--hooks", "/nowhere/hooks.toml", *filter(None, [argument]), check=False)
    assert result.returncode == status and "/nowhere/hooks.toml: No such file or directory" in result.stderr
    assert result.stdout == ""


def test_rows_that_nobody_wrote_turn_the_agent_off(tmp_path):
    """The program goes on."""
    for rows in ("x", "a,b,c,d,1,2;", "drum,libdrum.so,drum_run,k,99,0,0,0,0,0,0,0,0,;"):
        env = {**environment(tmp_path), "ASYNCTRACE_HOOK_ROWS": rows}
        assert run(["/bin/echo", "goes on"], env).stdout == "goes on\n"
