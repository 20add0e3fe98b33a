"""What `asynctrace attach` refuses: with the reason, with a remedy, and without having touched the process."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
from attaching import BUSY, busy, need_ptrace
from conftest import AGENT, CLI, PATIENCE
from test_refusals import BARE, NOBODY, compile_c

WAITS = "#include <stdio.h>\nint main(void) { puts(\"READY\"); fflush(stdout); return getchar() != EOF; }\n"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")


def attach(pid, *arguments, cli=CLI, **options):
    return subprocess.run([cli, "attach", *arguments, str(pid)], capture_output=True, text=True, timeout=PATIENCE, **options)


def assert_refused(result, reason, remedy):
    lines = result.stderr.splitlines()
    assert result.returncode == 1 and len(lines) == 2, result.stderr
    assert lines[0].startswith("asynctrace: ") and reason in lines[0], lines[0]
    assert lines[1].startswith("asynctrace: remedy: ") and remedy in lines[1], lines[1]


@contextlib.contextmanager
def waiting(command, **options):
    """A program that has said READY and ends at the end of its stdin; it must end as if nothing had been."""
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True, **options)
    try:
        assert process.stdout.readline().startswith("READY")
        yield process.pid
        process.communicate("", timeout=PATIENCE)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def stat_of(pid):
    """The fields from the third on, or zeros where it is gone."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return ["0"] * 50


def state_of(pid):
    return stat_of(pid)[0]


def wait_for_state(pid, state):
    deadline = time.monotonic() + PATIENCE
    while state_of(pid) != state:
        assert time.monotonic() < deadline, state_of(pid)


@pytest.mark.parametrize("kind, flags, source, reason, remedy", [
    ("static", ["-static"], WAITS, "it is statically linked", "link it dynamically"),
    ("static-pie", ["-static-pie"], WAITS, "it is statically linked", "link it dynamically"),
    ("32-bit", ["-m32", "-nostdlib", "-static"], BARE, "it is a 32-bit x86 program", "build it for 64-bit x86-64"),
])
def test_programs_that_cannot_be_entered(tmp_path, kind, flags, source, reason, remedy):
    path = compile_c(tmp_path / "target", *flags, source=source)
    with subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert kind == "32-bit" or process.stdout.readline() == b"READY\n"
            deadline = time.monotonic() + PATIENCE
            while os.readlink(f"/proc/{process.pid}/exe") != str(path):
                assert time.monotonic() < deadline
            assert_refused(attach(process.pid), reason, remedy)
            assert process.poll() is None
        finally:
            process.kill()


def test_musl(tmp_path):
    """Its loader is told from the file; to run one there has to be a file under that loader's name."""
    loader = tmp_path / "ld-musl-x86_64.so.1"
    shutil.copy("/lib64/ld-linux-x86-64.so.2", loader)
    path = compile_c(tmp_path / "target", f"-Wl,--dynamic-linker={loader}", source=WAITS)
    with waiting([path]) as pid:
        assert_refused(attach(pid), "it is linked against musl", "-gnu target")


def test_no_process_and_no_program():
    last = int(pathlib.Path("/proc/sys/kernel/pid_max").read_text())
    assert_refused(attach(last + 1), f"process {last + 1} does not exist", "ps -e")
    of_kernel = [pid for pid in os.listdir("/proc") if pid.isdigit() and int(stat_of(pid)[6]) & 0x200000]
    if not of_kernel:
        pytest.skip("no thread of the kernel is to be seen")
    assert_refused(attach(of_kernel[0]), "it is a thread of the kernel", "a process of a program")


def test_a_zombie():
    with subprocess.Popen(["true"]) as process:
        wait_for_state(process.pid, "Z")
        assert_refused(attach(process.pid), f"it has ended, and waits for its parent, process {os.getpid()}",
                       "nothing left")


def test_a_thread(tmp_path):
    with busy("wait", tmp_path) as target:
        tid = max(map(int, os.listdir(f"/proc/{target.pid}/task")))
        assert_refused(attach(tid), f"{tid} is a thread of process {target.pid}", f"attach {target.pid}")
        target.end()


def test_stopped_and_then_continued(tmp_path):
    with busy("wait", tmp_path) as target:
        os.kill(target.pid, signal.SIGSTOP)
        wait_for_state(target.pid, "T")
        assert_refused(attach(target.pid), "it is stopped", f"kill -CONT {target.pid}")
        assert state_of(target.pid) == "T"
        os.kill(target.pid, signal.SIGCONT)
        target.attach()
        target.end()


def test_in_the_kernel_where_nothing_interrupts_it(tmp_path):
    with subprocess.Popen([BUSY, "vfork", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline().startswith(b"READY")
        wait_for_state(process.pid, "D")
        assert_refused(attach(process.pid), "it sleeps in the kernel", "try again when it goes on")
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0


def test_traced_by_another(tmp_path):
    """`run --crash-stack` is a tracer."""
    env = {**os.environ, "ASYNCTRACE_DIR": str(tmp_path)}
    tmp_path.chmod(0o700)
    need_ptrace()
    with subprocess.Popen([CLI, "run", "-q", "--crash-stack", "--", BUSY, "wait", "1"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True, env=env) as run:
        pid = run.stdout.readline().split()[1]
        assert_refused(attach(pid), f"process {run.pid} (asynctrace) traces it already", "end that debugger first")
        run.communicate(timeout=PATIENCE)
        assert run.returncode == 0


EATER = "__attribute__((tls_model(\"initial-exec\"))) __thread char eaten[SIZE]; char *eat(void) { return eaten; }\n"
EATING = """#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **libraries) {
  while (--count > 0) dlopen(*++libraries, RTLD_NOW);
  dlerror();
  puts("READY");
  fflush(stdout);
  return getchar() != EOF || dlerror() != NULL;
}
"""


def test_no_room_for_thread_locals(tmp_path):
    """What the agent keeps for each thread has to lie in the block that is made with the thread."""
    need_ptrace()
    libraries = []
    for size in (1024, 512, 256, 128, 64, 32, 16, 8):
        first, second = tmp_path / f"{size}.so", tmp_path / f"{size}_again.so"
        compile_c(first, "-shared", "-fPIC", f"-DSIZE={size}", source=EATER)
        shutil.copy(first, second)
        libraries += [first, second]
    with waiting([compile_c(tmp_path / "target", source=EATING), *libraries]) as pid:
        result = attach(pid, env={**os.environ, "ASYNCTRACE_DIR": str(tmp_path)})
        assert_refused(result, "cannot allocate memory in static TLS block", "optional_static_tls")
        assert "its loader refused" in result.stderr


@needs_root
def test_without_libunwind(tmp_path):
    need_ptrace()
    tmp_path.chmod(0o700)
    hide = 'for f in $(ldconfig -p | sed -n "s/.*libunwind.so.8 .*=> //p"); do mount --bind /dev/null $f; done; exec "$@"'
    with waiting(["unshare", "--mount", "sh", "-ec", hide, "sh", BUSY, "wait", "1"]) as pid:
        result = attach(pid, env={**os.environ, "ASYNCTRACE_DIR": str(tmp_path)})
        assert result.returncode == 1 and "libunwind.so.8 cannot be loaded: install libunwind8" in result.stderr
    assert list(tmp_path.glob("*.atrace")) == []


def test_no_place_for_the_segment(tmp_path):
    need_ptrace()
    with waiting([BUSY, "wait", "1"]) as pid:
        result = attach(pid, env={**os.environ, "ASYNCTRACE_DIR": str(tmp_path / "missing" / "deep")})
        assert result.returncode == 1 and "the agent cannot trace it: no segment file" in result.stderr
        tmp_path.chmod(0o700)
        assert attach(pid, env={**os.environ, "ASYNCTRACE_DIR": str(tmp_path)}).returncode == 0, "nothing had changed"


FILTER = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
allow = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7fff0000))  # return SECCOMP_RET_ALLOW
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 1, ctypes.addressof(allow)))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_seccomp(tmp_path):
    need_ptrace()
    env = {**os.environ, "ASYNCTRACE_DIR": str(tmp_path)}
    tmp_path.chmod(0o700)
    with waiting([sys.executable, "-c", FILTER, BUSY, "wait", "1"]) as pid:
        assert_refused(attach(pid, env=env), "it has a seccomp filter", "--force, if its filter allows these")
        forced = attach(pid, "--force", env=env)
        assert forced.returncode == 0, forced.stderr


STRICT = """#include <stdio.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
  char byte;
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0 || write(1, "READY\\n", 6) != 6) return 1;
  while (read(0, &byte, 1) > 0) continue;
  syscall(SYS_exit, 0);
}
"""


def test_seccomp_that_allows_nothing(tmp_path):
    need_ptrace()
    with waiting([compile_c(tmp_path / "target", source=STRICT)]) as pid:
        assert_refused(attach(pid, "--force"), "seccomp allows it nothing but", "there is no way in")


def open_to_all(directory):
    for parent in [directory, *directory.parents]:
        if not parent.stat().st_mode & 1:
            parent.chmod(parent.stat().st_mode | 0o11)


@pytest.fixture
def public(tmp_path_factory):
    """The CLI, the agent and a program where any user can read and run them."""
    directory = tmp_path_factory.mktemp("public")
    open_to_all(directory)
    for name in ("cli", "agent"):
        (directory / name).mkdir()
    shutil.copy(CLI, directory / "cli")
    shutil.copy(AGENT, directory / "agent")
    shutil.copy(BUSY, directory)
    return directory


def as_nobody(**more):
    return {"user": NOBODY, "group": NOBODY, "extra_groups": [], **more}


@needs_root
def test_permissions_are_told_apart(public):
    cli = public / "cli" / "asynctrace"
    with waiting([public / "busy", "wait", "1"]) as pid:
        assert_refused(attach(pid, cli=cli, **as_nobody()), "it belongs to another user (uid 0)", "or as root")
    undumpable = "import ctypes, sys; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); print('READY', flush=True); sys.stdin.read()"
    with waiting([sys.executable, "-c", undumpable], **as_nobody()) as pid:
        assert_refused(attach(pid, cli=cli, **as_nobody()), "it has protected itself", "as root")
    yama = pathlib.Path("/proc/sys/kernel/yama/ptrace_scope")
    scope = yama.read_text().strip() if yama.exists() else "0"
    with waiting([public / "busy", "wait", "1"], **as_nobody()) as pid:
        result = attach(pid, cli=cli, env={**os.environ, "ASYNCTRACE_DIR": ""}, **as_nobody())
        if scope == "0":
            assert result.returncode == 0, result.stderr
        else:
            assert_refused(result, f"ptrace_scope is {scope}", "asynctrace as root")


@needs_root
def test_capabilities_that_asynctrace_has_not(public):
    """Its user is the same; the kernel asks for no less than what it may do."""
    command = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--inh-caps", "+net_raw",
               "--ambient-caps", "+net_raw", public / "busy", "wait", "1"]
    with waiting(command) as pid:
        result = attach(pid, cli=public / "cli" / "asynctrace", **as_nobody())
        assert_refused(result, "it has capabilities that asynctrace has not", "as root")


@needs_root
@pytest.mark.parametrize("scope, user, reason, remedy", [
    ("1", NOBODY, "ptrace_scope is 1: only root and its own ancestors", "sysctl kernel.yama.ptrace_scope=0"),
    ("2", NOBODY, "ptrace_scope is 2: only root", "as root"), ("3", 0, "ptrace_scope is 3: nobody", "asynctrace run"),
])
def test_yama_is_told_by_its_number(public, tmp_path, scope, user, reason, remedy):
    """Few kernels have all of these at once: asynctrace alone sees this one."""
    (tmp_path / "yama").mkdir()
    (tmp_path / "yama" / "ptrace_scope").write_text(scope + "\n")
    open_to_all(tmp_path)
    stage = 'mount --bind "$1" /proc/sys/kernel && shift && exec setpriv --reuid "$1" --regid "$1" --clear-groups "$2" attach "$3"'
    with waiting([public / "busy", "wait", "1"], user=user, group=user, extra_groups=[]) as pid:
        command = ["unshare", "--mount", "sh", "-ec", stage, "sh", tmp_path, user, public / "cli" / "asynctrace", pid]
        result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=PATIENCE)
        assert_refused(result, reason, remedy)


@needs_root
@pytest.mark.parametrize("namespaces", [["--pid", "--fork"], ["--user", "--map-root-user"], ["--net", "--ipc", "--uts"]])
def test_other_namespaces_are_no_hindrance(tmp_path, namespaces):
    need_ptrace()
    tmp_path.chmod(0o700)
    env = {**os.environ, "ASYNCTRACE_DIR": str(tmp_path)}
    process = subprocess.Popen(["unshare", *namespaces, BUSY, "wait", "1"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().startswith("READY")
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        pid = int(children[0]) if children else process.pid
        attached = attach(pid, env=env)
        assert attached.returncode == 0, attached.stderr
        dump = subprocess.run([CLI, "dump", str(pid)], env=env, capture_output=True, text=True, timeout=PATIENCE)
        assert dump.returncode == 0 and dump.stdout.startswith("busy pid"), dump.stderr
        output, _ = process.communicate("", timeout=PATIENCE)
        assert "INTERRUPTED 0\n" in output and process.returncode == 0
    finally:
        process.kill()
        process.wait()


@needs_root
def test_another_mount_namespace(public, tmp_path):
    """Where the library is not to be seen it says what to do; and that works."""
    hide = f'mount -t tmpfs none "{public}/agent" && exec "$@"'
    with waiting(["unshare", "--mount", "sh", "-ec", hide, "sh", BUSY, "wait", "1"]) as pid:
        cli, env = public / "cli" / "asynctrace", {**os.environ, "ASYNCTRACE_DIR": str(tmp_path)}
        tmp_path.chmod(0o700)
        refused = attach(pid, cli=cli, env=env)
        assert_refused(refused, "it lives in another mount namespace, and does not see", "mkdir -p")
        remedy = refused.stderr.splitlines()[1].split("put the library there: ")[1]
        subprocess.run(["sh", "-ec", remedy], check=True)
        found = attach(pid, cli=cli, env=env)
        assert found.returncode == 0, found.stderr
