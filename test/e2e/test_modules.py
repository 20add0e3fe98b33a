"""Runtimes in libraries: linked, loaded later, closed and loaded again."""

import collections
import json
import shutil
import subprocess
import sysconfig
import threading

import pytest
from conftest import BUILD, PATIENCE, ROOT, asynctrace, confirmed_places, differences, traced
from processes import compile_c, environment, run

HOST = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void* look_up(void* library, const char* name) {
  void* function = dlsym(library, name);
  if (function == NULL) exit(3);
  return function;
}

static void* loaded(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) fprintf(stderr, "%s\n", dlerror()), exit(2);
  return library;
}

static void* play(void* plugin) {
  ((void (*)(void*))look_up(plugin, "plugin_stop"))(((void* (*)(bool))look_up(plugin, "plugin_start"))(false));
  return NULL;
}

// On a thread that ends: the loader does not unload a library whose destructors a thread has still to run.
static void play_a_round(const char* path) {
  void* library = loaded(path);
  pthread_t thread;
  pthread_create(&thread, NULL, play, library);
  pthread_join(thread, NULL);
  dlclose(library);
  if (dlopen(path, RTLD_NOW | RTLD_NOLOAD) != NULL) exit(4);
}

// PLAYING ROUNDS PLUGIN...: loads and closes the plugins in turn, while PLAYING keeps its tasks busy.
int main(int count, char** arguments) {
  void* playing = loaded(arguments[1]);
  void* game = ((void* (*)(void))look_up(playing, "plugin_play"))();
  int rounds = atoi(arguments[2]);
  printf("STARTED %d\n", getpid());
  fflush(stdout);
  for (int round = 0; round < rounds; round++) play_a_round(arguments[3 + round % (count - 3)]);
  ((void (*)(void*))look_up(playing, "plugin_stop"))(game);
  ((void* (*)(bool))look_up(loaded(arguments[3]), "plugin_start"))(true);
  printf("READY %d\n", getpid());
  fflush(stdout);
  while (getchar() != EOF) continue;
  return 0;
}
"""

LINKED = r"""
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>
void* plugin_start(bool tell);
int main(void) {
  plugin_start(true);
  printf("READY %d\n", getpid());
  fflush(stdout);
  while (getchar() != EOF) continue;
}
"""

EXTENSION = r"""
#include <Python.h>
#include <stdbool.h>
void* plugin_start(bool tell);
static PyObject* start(PyObject* self, PyObject* none) {
  plugin_start(true);
  Py_RETURN_NONE;
}
static PyMethodDef methods[] = {{"start", start, METH_NOARGS, ""}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "extension", "", -1, methods};
PyMODINIT_FUNC PyInit_extension(void) { return PyModule_Create(&module); }
"""

SCRIPT = """
import extension, os, sys
extension.start()
print("READY", os.getpid(), flush=True)
sys.stdin.read()
"""


PLUGIN_SOURCE = ROOT / "test" / "targets" / "tokio" / "src" / "plugin.rs"


def lines_with(source, comment):
    return [number for number, line in enumerate(source.read_text().splitlines(), 1) if f"// {comment}" in line]


@pytest.fixture(scope="session")
def plugin():
    path = BUILD / "targets" / "debian" / "release" / "examples" / "libplugin.so"
    assert path.exists(), "not built"
    return path


@pytest.fixture(scope="session")
def other_plugin(plugin, tmp_path_factory):
    """The same code at other addresses."""
    path = tmp_path_factory.mktemp("plugin") / "libother.so"
    whole = ["-Wl,--whole-archive", plugin.with_suffix(".a"), "-Wl,--no-whole-archive", "-lm"]
    subprocess.run(["gcc", "-shared", "-o", path, *whole], check=True)
    return path


def shows_the_truth(target):
    dump = target.dump()
    assert sum(target.leaves().values()) == 3
    assert not differences(target.leaves(), confirmed_places(dump))
    assert all(count == 0 for count in dump["lost"].values()), dump["lost"]
    return dump


@pytest.mark.parametrize("by", ["run", "preload"])
def test_linked_to_a_c_program(plugin, tmp_path, by):
    host = compile_c(tmp_path, "linked", LINKED, f"-L{plugin.parent}", "-lplugin", f"-Wl,-rpath,{plugin.parent}")
    with traced(host, segment_dir=tmp_path, by=by) as target:
        shows_the_truth(target)


def test_workers_that_begin_at_the_same_moment(plugin, tmp_path):
    """The first hooks of two threads meet: each must get a record of its own, every time."""
    host = compile_c(tmp_path, "linked", LINKED, f"-L{plugin.parent}", "-lplugin", f"-Wl,-rpath,{plugin.parent}")
    for _ in range(20):
        with traced(host, segment_dir=tmp_path, by="preload") as target:
            shows_the_truth(target)


@pytest.mark.parametrize("by", ["run", "preload"])
def test_python_extension(plugin, tmp_path, by):
    whole = ["-Wl,--whole-archive", plugin.with_suffix(".a"), "-Wl,--no-whole-archive", "-lm"]
    compile_c(tmp_path, "extension", EXTENSION, "-shared", "-fPIC", "-Wno-unused-parameter",
              f"-I{sysconfig.get_path('include')}", *whole)
    (tmp_path / "extension").rename(tmp_path / "extension.so")
    (tmp_path / "script.py").write_text(SCRIPT)
    with traced("/usr/bin/python3", "-B", tmp_path / "script.py", segment_dir=tmp_path, by=by) as target:
        shows_the_truth(target)


def test_closed_and_loaded_again_under_load(plugin, other_plugin, tmp_path, quick):
    """Two libraries take turns, so one comes to lie where the other one was. No dump shows what is gone."""
    playing = tmp_path / "libplaying.so"
    shutil.copy(plugin, playing)
    host = compile_c(tmp_path, "host", HOST)
    command = [host, playing, "50" if quick else "1000", plugin, other_plugin]
    stuck = {line.split()[1] for line in run(command, environment(None)).stdout.splitlines() if line[:4] == "LEAF"}
    passing = {f"src/plugin.rs:{line}" for line in lines_with(PLUGIN_SOURCE, "may wait for a moment")}
    assert len(stuck) == 3 and len(passing) == 3
    tmp_path.chmod(0o700)
    env = environment(tmp_path)
    seen = collections.Counter()
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(PATIENCE * 3, process.kill)
        watchdog.start()
        lines = [process.stdout.readline()]
        reader = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")))
        reader.start()
        while not lines[-1].startswith("READY") and process.poll() is None:
            dump = json.loads(asynctrace("dump", "--format", "json", process.pid, env=env).stdout)
            seen.update(confirmed_places(dump))
        dump = json.loads(asynctrace("dump", "--format", "json", process.pid, env=env).stdout)
        process.stdin.close()
        reader.join()
        watchdog.cancel()
    assert process.returncode == 0
    assert seen and set(seen) <= stuck | passing, seen
    assert confirmed_places(dump) == collections.Counter(line.split()[1] for line in lines if line[:4] == "LEAF")
    assert [task["kind"] for task in dump["tasks"]].count("task") == 3
    assert all(count == 0 for count in dump["lost"].values()), dump["lost"]
    loaded = [module["path"] for module in dump["modules"]]
    assert str(plugin) in loaded and str(other_plugin) not in loaded
