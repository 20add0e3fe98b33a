"""Programs built with a sanitizer run clean under the agent, and are shown as any other."""

import re
import subprocess

import pytest
from conftest import BUILD, confirmed_places, differences, traced
from sanitized_agents import sanitized_agent

# Threads of its own over epoll beside a runtime from Rust, under load and at rest, begun and ended. Nothing of it may
# race, leak or be undefined: what a sanitizer says is the agent's doing.
PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

extern "C" void* plugin_start(bool tell);
extern "C" void* plugin_play();
extern "C" void plugin_stop(void* runtime);

static std::atomic<long> g_served{0};

// Sends back what it reads until the other end is closed.
static void serve(int socket) {
  const int poller = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{EPOLLIN, {}};
  epoll_ctl(poller, EPOLL_CTL_ADD, socket, &event);
  for (;;) {
    epoll_event ready;
    if (epoll_wait(poller, &ready, 1, -1) != 1) continue;
    char byte;
    if (read(socket, &byte, 1) != 1 || write(socket, &byte, 1) != 1) break;
    g_served++;
  }
  close(poller);
  close(socket);
}

int main(int, char** arguments) {
  const int rounds = atoi(arguments[1]);
  void* game = plugin_play();
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; i++) {
    threads.emplace_back([rounds] {
      int sockets[2];
      if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0) abort();
      std::thread server(serve, sockets[0]);
      char byte = 'x';
      for (int round = 0; round < rounds; round++)
        if (write(sockets[1], &byte, 1) != 1 || read(sockets[1], &byte, 1) != 1) abort();
      close(sockets[1]);
      server.join();
    });
  }
  for (std::thread& thread : threads) thread.join();
  plugin_stop(game);
  void* runtime = plugin_start(true);
  printf("SERVED %ld\nREADY %d\n", g_served.load(), getpid());
  fflush(stdout);
  while (getchar() != EOF) continue;
  plugin_stop(runtime);
}
"""
OPTIONS = {
    "address": {"ASAN_OPTIONS": "verify_asan_link_order=0"},
    "thread": {"TSAN_OPTIONS": "exitcode=0"},
    "undefined": {"UBSAN_OPTIONS": "halt_on_error=1"},
}


def is_rust(stack):
    """Whether Rust made this access, first among the frames that are not the sanitizer's."""
    for frame in stack.splitlines():
        if re.search(r"::h[0-9a-f]{16}\b", frame):
            return True
        if "libasynctrace-agent.so" in frame or "sanitized.cpp" in frame:
            return False
    return False


def races(log):
    """Rust is not instrumented here, so that what orders its accesses is not seen: none of its counts."""
    for report in log.split("WARNING: ThreadSanitizer")[1:]:
        accesses = re.findall(r"^  (?:\w+ )*(?:[Rr]ead|[Ww]rite) .*\n((?:    #.*\n)+)", report, re.MULTILINE)
        if len(accesses) < 2 or not any(is_rust(stack) for stack in accesses):
            yield report


def test_races_that_count():
    agent = "    #0 memcmp x.inc:1 (libtsan.so.2+0x1)\n    #1 find() <null> (libasynctrace-agent.so+0x2)\n"
    rust = "    #0 free x.inc:1 (libtsan.so.2+0x1)\n    #1 tokio::dealloc::hda84a11654b4e8c5 raw.rs:2 (a+0x2)\n"
    report = "WARNING: ThreadSanitizer: data race\n  Read of size 8 at 0x7 by thread T2:\n{}\n"
    report += "  Previous write of size 8 at 0x7:\n{}\n"
    assert not list(races(report.format(agent, rust)))
    assert len(list(races(report.format(agent, agent)))) == 1
    assert len(list(races("WARNING: ThreadSanitizer: something else\n"))) == 1


def build(tmp_path, compiler, sanitizer):
    library = BUILD / "targets" / "debian" / "release" / "examples" / "libplugin.a"
    assert library.exists(), "not built"
    source, path = tmp_path / "sanitized.cpp", tmp_path / "sanitized"
    source.write_text(PROGRAM)
    subprocess.run([compiler, "-std=c++20", "-O1", "-g", "-Wall", "-Werror", f"-fsanitize={sanitizer}",
                    "-fno-sanitize-recover=all", "-pthread", "-o", path, source, library], check=True)
    return path


@pytest.mark.parametrize("compiler", ["g++", "clang++-14"])
@pytest.mark.parametrize("sanitizer", OPTIONS)
def test_sanitized_program_runs_clean(tmp_path, monkeypatch, quick, sanitizer, compiler):
    if quick and (sanitizer, compiler) != ("address", "g++"):
        pytest.skip("--quick tries one sanitizer only")
    run_clean(tmp_path, monkeypatch, build(tmp_path, compiler, sanitizer), sanitizer)


def test_its_memory_and_the_agents(tmp_path, monkeypatch, quick):
    if quick:
        pytest.skip("--quick does not build it")
    monkeypatch.setenv("ASYNCTRACE_AGENT", str(sanitized_agent("address")))
    run_clean(tmp_path, monkeypatch, build(tmp_path, "g++", "address"), "address")


def run_clean(tmp_path, monkeypatch, path, sanitizer):
    logs = tmp_path / "logs"
    logs.mkdir()
    for name, value in OPTIONS[sanitizer].items():
        monkeypatch.setenv(name, f"{value}:log_path={logs}/log")
    rounds = 200
    segments = tmp_path / "segments"
    segments.mkdir()
    with traced(path, rounds, segment_dir=segments) as target:
        dump = target.dump()
    assert target.process.returncode == 0, "a sanitizer ended it"
    said = "".join(log.read_text() for log in logs.iterdir())
    assert not (list(races(said)) if sanitizer == "thread" else said)
    assert target.words("SERVED") == [str(3 * rounds)]
    assert sum(target.leaves().values()) == 3
    assert not differences(target.leaves(), confirmed_places(dump))
