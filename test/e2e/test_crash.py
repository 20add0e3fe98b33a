"""A crashed program says where, and dies as it would have without anyone looking."""

import json
import pathlib
import re
import resource
import signal
import subprocess
import tempfile

import pytest
from conftest import AGENT, CLI, PATIENCE, asynctrace, program, user_place
from running import env, files, run  # noqa: F401 (env is a fixture)

SOURCE = pathlib.Path(__file__).with_name("crash_cases.cpp")
CORE_PATTERN = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()


def no_cores():
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def all_cores():
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.fixture
def cores():
    """The names of core files as this system writes them; their directory is the working directory."""
    if CORE_PATTERN.startswith(("|", "@", "/")) or resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip(f"core files go elsewhere here: {CORE_PATTERN}")
    return re.sub("%.", "*", CORE_PATTERN) + "*"


@pytest.fixture(scope="session")
def cases(tmp_path_factory):
    library = tmp_path_factory.mktemp("cases") / "cases.so"
    subprocess.run(["g++", "-shared", "-fPIC", "-g", "-O1", "-fno-optimize-sibling-calls", "-w", SOURCE, "-o", library],
                   check=True, timeout=PATIENCE)
    return library


class Crashed:
    def __init__(self, command, env, cwd, limit=no_cores):
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            self.process = subprocess.Popen(list(map(str, command)), env=env, cwd=cwd, stdin=subprocess.PIPE, stdout=out,
                                            stderr=err, preexec_fn=limit)
            # Its end would end the program before it has crashed.
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()
            self.status = self.process.wait(PATIENCE)
            self.process.stdin.close()
            out.seek(0), err.seek(0)
            self.out, self.err = out.read(), err.read()

    def place(self):
        """Where the program itself says that it will crash."""
        return re.search(r"^CRASH (\S+)", self.out, re.MULTILINE)[1]

    def pid(self):
        return int(re.search(r"^READY (\d+)", self.out, re.MULTILINE)[1])


def hangs(scenario, env, *options, flavor="multi", by="run", limit=no_cores, toolchain="debian"):
    cwd = pathlib.Path(env["HOME"])
    target = [program("hangs", toolchain=toolchain), scenario, flavor]
    if by == "run":
        return Crashed([CLI, "run", "-q", "--format", "json", "--dump-file", cwd / "dump.json", *options, "--", *target],
                       env, cwd, limit)
    preloaded = {**env, "LD_PRELOAD": f"{AGENT}:{env.get('LD_PRELOAD', '')}"}
    return Crashed(target, preloaded if by == "environment" else env, cwd, limit)


def dump_of_run(env):
    return json.loads((pathlib.Path(env["HOME"]) / "dump.json").read_text())


def dump_of_file(env):
    file, = files(env)
    return json.loads(asynctrace("dump", "--format", "json", pathlib.Path(env["ASYNCTRACE_DIR"]) / file, env=env).stdout)


def facts(dump):
    """The crash, and what must be consistent with it."""
    crash = dump["crash"]
    assert dump["process"]["state"] == "crashed"
    crashing = [task for task in dump["tasks"] if task["running_stack"] is not None]
    if crash["stack"] is not None:
        assert [(task["id"], task["running_stack"]) for task in crashing] == [(crash["task"], crash["stack"])]
        assert crashing[0]["state"] == "running"
    return crash


def check(dump, signal_name, crashed, function):
    crash = facts(dump)
    task, = [task for task in dump["tasks"] if task["id"] == crash["task"]]
    frames = [dump["frames"][index] for index in dump["stacks"][crash["stack"]]]
    assert crash["signal"] == signal_name
    assert user_place(dump, crash["stack"]) == crashed.place()
    assert frames[0]["function"].startswith("tokio::runtime::task::")
    assert function in task["type"]
    assert crash["tid"] in {thread["tid"] for thread in dump["threads"]}
    return crash


def without_times(crash):
    """The rate of the clock becomes more exact with every reading."""
    return {**crash, "in_poll_ns": None}


@pytest.mark.parametrize("flavor", ["multi", "current"])
@pytest.mark.parametrize("options", [[], ["--crash-stack"]], ids=["plain", "crash-stack"])
def test_abort_in_a_task(env, flavor, options):
    crashed = hangs("abort_in_task", env, *options, flavor=flavor)
    assert crashed.status == 128 + signal.SIGABRT
    dump = dump_of_run(env)
    assert dump["reason"] == "crash"
    crash = check(dump, "SIGABRT", crashed, "abort_in_task")
    if flavor == "current":
        assert crash["tid"] == int(re.search(r"^CRASH \S+ (\d+)", crashed.out, re.MULTILINE)[1])
    later = dump_of_file(env)
    assert later["reason"] == "post-mortem"
    assert without_times(check(later, "SIGABRT", crashed, "abort_in_task")) == without_times(crash)


def test_abort_without_run(env):
    crashed = hangs("abort_in_task", env, by="environment")
    assert crashed.status == -signal.SIGABRT
    check(dump_of_file(env), "SIGABRT", crashed, "abort_in_task")


@pytest.mark.parametrize("flavor", ["multi", "current"])
def test_a_panic_that_aborts(env, quick, flavor):
    if quick:
        pytest.skip("the program with panic=abort is built in full mode only")
    crashed = hangs("panic_in_task", env, flavor=flavor, toolchain="fat-lto")
    assert crashed.status == 128 + signal.SIGABRT and "as asked" in crashed.err
    check(dump_of_run(env), "SIGABRT", crashed, "panic_in_task")


def test_a_fault_by_its_core_file(env, cores):
    crashed = hangs("segfault_in_task", env, limit=all_cores)
    assert crashed.status == 128 + signal.SIGSEGV
    crash = check(dump_of_run(env), "SIGSEGV", crashed, "segfault_in_task")
    assert without_times(dump_of_file(env)["crash"]) == without_times(crash)


def test_a_fault_with_crash_stack(env):
    crashed = hangs("segfault_in_task", env, "--crash-stack")
    assert crashed.status == 128 + signal.SIGSEGV
    check(dump_of_run(env), "SIGSEGV", crashed, "segfault_in_task")


def test_a_fault_of_which_nobody_saw_the_stack(env):
    crashed = hangs("segfault_in_task", env)
    assert crashed.status == 128 + signal.SIGSEGV
    dump = dump_of_run(env)
    crash = facts(dump)
    assert crash["tid"] is crash["task"] is crash["stack"] is None
    assert crash["reason"] == "no core file was written"
    # Which task it was can still be seen; others may have been polled in that moment, too.
    polled = {thread["task"] for thread in dump["threads"] if thread["state"] == "polling"}
    task, = [task for task in dump["tasks"] if "segfault_in_task" in (task["type"] or "")]
    assert task["id"] in polled
    notes = {note["code"]: note["remedy"] for note in dump["diagnostics"]}
    assert "--crash-stack" in notes["no_crash_stack"]


def test_a_core_file_that_is_another_ones(env, cores):
    home = pathlib.Path(env["HOME"])
    (home / "core").write_text("not a core file")
    crashed = hangs("segfault_in_task", env, limit=no_cores)
    assert crashed.status == 128 + signal.SIGSEGV
    assert facts(dump_of_run(env))["reason"] == "no core file was written"
    assert (home / "core").read_text() == "not a core file"


def test_the_text(env):
    home = pathlib.Path(env["HOME"])
    crashed = Crashed([CLI, "run", "-q", "--", program("hangs"), "abort_in_task", "multi"], env, home)
    line = crashed.place().rpartition(":")[2]
    assert re.search(rf"^hangs pid {crashed.pid()}, crashed .*\n\n"
                     rf"crashed: SIGABRT in task \d+ on thread tid \d+ \(in one poll for \S+\)\n"
                     rf"╼ .*\n(.*\n)* +└╼ async fn hangs::abort_in_task at \S*src/bin/hangs.rs:{line}:\d+\n"
                     rf" +└╼ std::process::abort  \[native stack\]\n\nINSIDE ", crashed.err, re.MULTILINE)
    assert crashed.err.index("crashed: SIGABRT") < crashed.err.index("asynctrace dump ")


def test_a_panic_that_the_runtime_catches_is_no_crash(env):
    home = pathlib.Path(env["HOME"])
    with subprocess.Popen([CLI, "run", "-q", "--", program("hangs"), "panic_in_task", "multi"], env=env, cwd=home,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdin.write("\n")
        process.stdin.flush()
        for line in process.stderr:
            if "as asked" in line:
                break
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
        assert "crashed" not in process.stderr.read()


# C++ in a task, through a call that the task makes.

def marked(word):
    number, = [n for n, line in enumerate(SOURCE.read_text().splitlines(), 1) if f"// {word}" in line]
    return f"crash_cases.cpp:{number}"


def places(dump, stack):
    frames = [dump["frames"][index] for index in dump["stacks"][stack]]
    return [f"{pathlib.Path(frame['file'] or '?').name}:{frame['line']}" for frame in frames]


@pytest.mark.parametrize("how, word, text", [
    ("assert", "ASSERT", "Assertion `signal == 0' failed."), ("terminate", "TERMINATE", "what():  thrown")])
@pytest.mark.parametrize("by", ["run", "environment"])
def test_assert_and_terminate_in_a_task(env, cases, how, word, text, by):
    crashed = hangs("oom_standin", {**env, "LD_PRELOAD": str(cases), "CRASH": how}, by=by)
    assert crashed.status == (128 + signal.SIGABRT if by == "run" else -signal.SIGABRT)
    assert text in crashed.err
    dump = dump_of_file(env)
    crash = facts(dump)
    assert crash["signal"] == "SIGABRT"
    assert marked(word) in places(dump, crash["stack"])
    assert any(place.startswith("hangs.rs:") for place in places(dump, crash["stack"]))


@pytest.mark.parametrize("options", [[], ["--crash-stack"]], ids=["plain", "crash-stack"])
def test_a_stack_overflow(env, cases, options):
    """Rust's handler runs on the alternate stack and calls abort() there."""
    crashed = hangs("oom_standin", {**env, "LD_PRELOAD": str(cases), "CRASH": "overflow"}, *options)
    assert crashed.status == 128 + signal.SIGABRT
    assert "has overflowed its stack" in crashed.err
    dump = dump_of_run(env)
    crash = dump["crash"]
    assert crash["signal"] == "SIGABRT"
    task, = [task for task in dump["tasks"] if task["id"] == crash["task"]]
    assert "oom_standin" in task["type"]
    # As deep as there is room for, across the signal.
    assert places(dump, crash["stack"]).count(marked("OVERFLOW")) > 200


def test_a_fault_that_the_program_handles_is_no_crash(env, cases):
    survivor = {**env, "LD_PRELOAD": str(cases), "CRASH": "survive"}
    crashed = hangs("segfault_in_task", survivor, "--crash-stack")
    assert crashed.status == 128 + signal.SIGSEGV
    check(dump_of_run(env), "SIGSEGV", crashed, "segfault_in_task")
    faults = "import ctypes, signal\nsignal.signal(signal.SIGSEGV, lambda *_: None)\nsignal.raise_signal(11)\nexit(3)"
    assert run(env, "--crash-stack", "/usr/bin/python3", "-c", faults).returncode == 3


# The end of the program as others see it.

CPLUSPLUS = """
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <setjmp.h>
#include <stdexcept>
static jmp_buf g_back;
static void leave(int) { longjmp(g_back, 1); }
static void say(int) { fputs("handler\\n", stderr); }
int main(int, char** argv) {
  printf("buffered");
  if (strcmp(argv[1], "terminate") == 0) throw std::runtime_error("thrown");
  if (strcmp(argv[1], "assert") == 0) assert(argv[1] == nullptr);
  if (strcmp(argv[1], "handled") == 0) signal(SIGABRT, say);
  if (strcmp(argv[1], "escaped") == 0) {
    signal(SIGABRT, leave);
    if (setjmp(g_back) != 0) return 5;
  }
  if (strcmp(argv[1], "fault") == 0) *(volatile int*)8 = 1;
  abort();
}
"""


@pytest.fixture(scope="session")
def plain_program(tmp_path_factory):
    directory = tmp_path_factory.mktemp("plain")
    (directory / "plain.cpp").write_text(CPLUSPLUS)
    subprocess.run(["g++", "-w", directory / "plain.cpp", "-o", directory / "plain"], check=True, timeout=PATIENCE)
    return directory / "plain"


@pytest.mark.parametrize("how", ["abort", "terminate", "assert", "handled", "escaped", "fault"])
def test_status_messages_and_core_are_as_without(env, tmp_path, cores, plain_program, how):
    def end(name, command, variables=()):
        cwd = tmp_path / name
        cwd.mkdir()
        result = subprocess.run([*map(str, command), plain_program, how], env={**env, **dict(variables)}, cwd=cwd,
                                capture_output=True, text=True, timeout=PATIENCE, preexec_fn=all_cores)
        status = result.returncode if result.returncode >= 0 else 128 - result.returncode
        return status, result.stdout, result.stderr, len(list(cwd.glob(cores)))

    plain = end("plain", [])
    assert plain[0] == {"escaped": 5, "fault": 139}.get(how, 134) and plain[3] == (how != "escaped")
    assert end("agent", [], {"LD_PRELOAD": str(AGENT)}.items()) == plain
    assert end("run", [CLI, "run", "-q", "--"]) == plain
    assert end("traced", [CLI, "run", "-q", "--crash-stack", "--"]) == plain


def test_a_core_file_shows_abort_as_without(env, cores):
    """No frame of ours stands between the program and libc."""
    hangs("abort_in_task", env, limit=all_cores)
    core, = pathlib.Path(env["HOME"]).glob(cores)
    trace = subprocess.run(["eu-stack", "-r", "-n", "12", "-e", program("hangs"), "--core", core], capture_output=True,
                           text=True, timeout=PATIENCE).stdout
    functions = re.findall(r"^#\d+ +0x\w+ +(?:- \S+ )?(\S+)", trace, re.MULTILINE)
    names = [name.removeprefix("__GI_") for name in functions]
    assert "abort_internal" in names[names.index("abort") + 1], trace


@pytest.mark.parametrize("scenario, number", [("abort_in_task", "SIGABRT"), ("segfault_in_task", "SIGSEGV")])
def test_a_crash_that_another_process_reaps(env, cores, scenario, number):
    """The shell goes elsewhere: the core file is looked for where the process was, not where run is."""
    home = pathlib.Path(env["HOME"])
    (home / "below").mkdir()
    script = f"cd below; {program('hangs')} {scenario} multi; exit 0"
    crashed = Crashed([CLI, "run", "-q", "--format", "json", "--dump-file", home / "dump.json", "--", "/bin/sh", "-c",
                       script], env, home, all_cores)
    assert crashed.status == 0
    dump = dump_of_run(env)
    assert dump["reason"] == "crash"
    check(dump, number, crashed, scenario)


def test_a_crash_of_a_grandchild(env):
    home = pathlib.Path(env["HOME"])
    script = f"{program('hangs')} segfault_in_task multi; echo status $?; exit 0"
    crashed = Crashed([CLI, "run", "-q", "--crash-stack", "--format", "json", "--dump-file", home / "dump.json", "--",
                       "/bin/sh", "-c", script], env, home)
    assert crashed.status == 0 and "status 139\n" in crashed.out
    check(dump_of_run(env), "SIGSEGV", crashed, "segfault_in_task")
    quiet = Crashed([CLI, "run", "-q", "--crash-stack", "--follow=none", "--", "/bin/sh", "-c", script], env, home)
    assert quiet.status == 0 and "crashed" not in quiet.err
