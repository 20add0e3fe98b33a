// sd-event: a source in each role of the table of sd-event's functions, in ways that the lines on stdout
// tell. Ends at the end of stdin.
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "truth.hpp"

#define FUNCTION extern "C" __attribute__((noinline)) void
#define CALLBACK extern "C" __attribute__((noinline)) int
#define ADD(what, ...) sd_event_add_##what(g_event, __VA_ARGS__)

namespace {

constexpr uint64_t kHour = 3'600'000'000;
sd_event* g_event;
sd_event_source* g_turn;
uint64_t g_later;  // an hour from now
int g_pipe[2];
int g_quiet[2];
int g_reads = 0;
int g_ticks = 0;
int g_deferred = 0;

uint64_t after(uint64_t usec) {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1000 + usec;
}

}  // namespace

CALLBACK on_readable(sd_event_source*, int fd, uint32_t, void*) {
  char byte;
  if (read(fd, &byte, 1) == 1) g_reads++;
  return 0;
}
CALLBACK on_fd(sd_event_source*, int, uint32_t, void*) {
  return 0;
}
CALLBACK on_timer(sd_event_source*, uint64_t, void*) {
  return 0;
}
CALLBACK on_signal(sd_event_source*, const signalfd_siginfo*, void*) {
  return 0;
}
CALLBACK on_child(sd_event_source*, const siginfo_t*, void*) {
  return 0;
}
CALLBACK on_file(sd_event_source*, const inotify_event*, void*) {
  return 0;
}
CALLBACK on_post(sd_event_source*, void*) {
  return 0;
}
CALLBACK on_exit_of_loop(sd_event_source*, void*) {
  return 0;
}
CALLBACK on_defer(sd_event_source*, void*) {
  g_deferred++;
  return 0;
}
// What fails is called no more.
CALLBACK fails(sd_event_source*, void*) {
  g_deferred++;
  return -1;
}
CALLBACK frees_itself(sd_event_source*, void* self) {
  g_deferred++;
  auto** const source = static_cast<sd_event_source**>(self);
  *source = sd_event_source_unref(*source);
  return 0;
}
CALLBACK on_end(sd_event_source*, int, uint32_t, void*) {
  exit(0);
}

CALLBACK on_tick(sd_event_source* source, uint64_t, void*) {
  g_ticks++;
  sd_event_source_set_time(source, g_ticks < 3 ? after(1000) : after(kHour));
  if (g_ticks < 3) return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT), 0;
  LEAF("timer", "on_tick"), sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
  return 0;
}

CALLBACK on_turn(sd_event_source* source, uint64_t, void*) {
  const bool is_done = g_reads == 2 && g_ticks == 3 && g_deferred == 3;
  sd_event_source_set_time(source, after(is_done ? kHour : 1000));
  if (!is_done) return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT), 0;
  LEAF("timer", "on_turn"), sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
  dispatched("on_readable", g_reads);
  dispatched("on_tick", g_ticks);
  ready();
  return 0;
}

FUNCTION watch() {
  sd_event_source* source = nullptr;
  check("pipes", pipe(g_pipe) == 0 && pipe(g_quiet) == 0 && write(g_pipe[1], "ab", 2) == 2);
  LEAF("read", "on_readable"), ADD(io, &source, g_pipe[0], EPOLLIN, on_readable, nullptr);
  LEAF("read", "on_fd"), ADD(io, nullptr, g_quiet[0], EPOLLIN, on_fd, nullptr);
  LEAF("timer", "on_timer"), ADD(time, &source, CLOCK_MONOTONIC, g_later, 0, on_timer, nullptr);
  LEAF("timer", "on_timer"), ADD(time_relative, &source, CLOCK_BOOTTIME, kHour, 0, on_timer, nullptr);
  ADD(time, &source, CLOCK_MONOTONIC, after(1000), 1, on_tick, nullptr);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  LEAF("signal", "on_signal"), ADD(signal, &source, SIGUSR1, on_signal, nullptr);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (getppid() == parent) pause();
    _exit(0);
  }
  LEAF("child process", "on_child"), ADD(child, &source, child, WEXITED, on_child, nullptr);
  LEAF("file change", "on_file"), ADD(inotify, &source, "/", IN_DELETE_SELF, on_file, nullptr);
  LEAF("post", "on_post"), ADD(post, &source, on_post, nullptr);
  LEAF("end of the loop", "on_exit_of_loop"), ADD(exit, &source, on_exit_of_loop, nullptr);
  ADD(defer, &source, on_defer, nullptr);
  ADD(defer, &source, fails, nullptr);
  sd_event_source_set_enabled(source, SD_EVENT_ON);
  static sd_event_source* self;
  ADD(defer, &self, frees_itself, &self);
}

FUNCTION change() {
  sd_event_source* changed = nullptr;
  sd_event_source* off = nullptr;
  ADD(io, &changed, g_quiet[1], EPOLLIN, on_fd, nullptr);
  LEAF("read or urgent data", "on_fd"), sd_event_source_set_io_events(changed, EPOLLIN | EPOLLPRI);
  ADD(time, &off, CLOCK_MONOTONIC, g_later, 0, on_timer, nullptr);
  sd_event_source_set_enabled(off, SD_EVENT_OFF);
  LEAF("timer", "on_timer"), sd_event_source_set_enabled(off, SD_EVENT_ON);
  sd_event_source_set_enabled(off, SD_EVENT_ON);
}

// What has been added and waits no more.
FUNCTION forget() {
  sd_event_source* source = nullptr;
  check("refused", ADD(io, &source, -1, EPOLLIN, on_fd, nullptr) < 0);
  ADD(time, &source, CLOCK_MONOTONIC, g_later, 0, on_timer, nullptr);
  sd_event_source_unref(source);
  ADD(time, &source, CLOCK_MONOTONIC, g_later, 0, on_timer, nullptr);
  sd_event_source_disable_unref(source);
  ADD(time, &source, CLOCK_MONOTONIC, g_later, 0, on_timer, nullptr);
  sd_event_source_set_enabled(source, SD_EVENT_OFF);
  // Held twice, freed once.
  LEAF("timer", "on_timer"), ADD(time, &source, CLOCK_MONOTONIC, g_later, 0, on_timer, nullptr);
  sd_event_source_ref(source);
  sd_event_source_unref(source);
  for (int i = 0; i < 1000; i++) {
    ADD(defer, &source, on_defer, nullptr);
    sd_event_source_unref(source);
  }
}

// Loops that end with sources that nobody holds, and one that has another reference.
FUNCTION end_loops() {
  sd_event* other = nullptr;
  sd_event* kept = nullptr;
  check("loops", sd_event_new(&other) >= 0 && sd_event_new(&kept) >= 0);
  sd_event_add_time(other, nullptr, CLOCK_MONOTONIC, g_later, 0, on_timer, nullptr);
  sd_event_add_io(other, nullptr, g_quiet[0], EPOLLIN, on_fd, nullptr);
  sd_event_unref(other);
  const uint64_t later = g_later;
  sd_event_ref(kept);
  LEAF("timer", "on_timer"), sd_event_add_time(kept, 0, CLOCK_MONOTONIC, later, 0, on_timer, 0);
  sd_event_unref(kept);
}

int main() {
  sd_event_new(&g_event);
  g_later = after(kHour);
  watch();
  change();
  forget();
  end_loops();
  LEAF("read", "on_end"), ADD(io, nullptr, STDIN_FILENO, EPOLLIN, on_end, nullptr);
  ADD(time, &g_turn, CLOCK_MONOTONIC, after(1000), 1, on_turn, nullptr);
  return sd_event_loop(g_event);
}
