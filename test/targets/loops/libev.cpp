// libev: a watcher in each role of the table of libev's functions, in ways that the lines on stdout tell.
// Ends at the end of stdin.
#include <ev.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "truth.hpp"

#define FUNCTION extern "C" __attribute__((noinline)) void

namespace {

constexpr double kHour = 3600;
struct ev_loop* g_loop;
ev_io g_reader, g_writer, g_end, g_stopped;
ev_timer g_turn, g_timer, g_tick, g_once, g_again, g_idle_time, g_changed, g_changed_once, g_left;
ev_periodic g_periodic;
ev_signal g_signal;
ev_child g_child;
ev_stat g_stat;
ev_idle g_idle;
ev_prepare g_prepare;
ev_check g_check;
ev_async g_async;
ev_fork g_fork;
ev_cleanup g_cleanup;
int g_pipe[2];
int g_reads = 0;
int g_ticks = 0;
int g_once_calls = 0;
int g_asyncs = 0;
int g_changed_calls = 0;
bool g_once_had_its_callback = false;

}  // namespace

FUNCTION on_readable(struct ev_loop*, ev_io* watcher, int) {
  char byte;
  if (read(watcher->fd, &byte, 1) == 1) g_reads++;
}
FUNCTION on_writable(struct ev_loop*, ev_io*, int) {}
FUNCTION on_end(struct ev_loop*, ev_io*, int) {
  exit(0);
}
FUNCTION on_timer(struct ev_loop*, ev_timer*, int) {}
FUNCTION on_other_timer(struct ev_loop*, ev_timer*, int) {}
FUNCTION on_changed_once(struct ev_loop*, ev_timer*, int) {
  g_changed_calls++;
}
FUNCTION on_periodic(struct ev_loop*, ev_periodic*, int) {}
FUNCTION on_signal(struct ev_loop*, ev_signal*, int) {}
FUNCTION on_child(struct ev_loop*, ev_child*, int) {}
FUNCTION on_stat(struct ev_loop*, ev_stat*, int) {}
FUNCTION on_idle(struct ev_loop* loop, ev_idle* watcher, int) {
  ev_idle_stop(loop, watcher);
}
FUNCTION on_prepare(struct ev_loop*, ev_prepare*, int) {}
FUNCTION on_check(struct ev_loop*, ev_check*, int) {}
FUNCTION on_async(struct ev_loop*, ev_async*, int) {
  g_asyncs++;
}
FUNCTION on_fork(struct ev_loop*, ev_fork*, int) {}
FUNCTION on_cleanup(struct ev_loop*, ev_cleanup*, int) {}
FUNCTION on_break(struct ev_loop* loop, ev_timer*, int) {
  ev_break(loop, EVBREAK_ONE);
}

FUNCTION on_tick(struct ev_loop* loop, ev_timer* watcher, int) {
  if (++g_ticks == 3) {
    watcher->repeat = kHour;
    LEAF("timer", "on_tick"), ev_timer_again(loop, watcher);
  }
}

// The first time it starts itself again, and the second is its last.
FUNCTION on_once(struct ev_loop* loop, ev_timer* watcher, int) {
  g_once_had_its_callback = ev_cb(watcher) == on_once;
  if (++g_once_calls == 2) return;
  ev_timer_set(watcher, 0.001, 0.);
  ev_timer_start(loop, watcher);
}

FUNCTION on_turn(struct ev_loop* loop, ev_timer* watcher, int) {
  if (g_reads < 2 || g_ticks < 3 || g_once_calls < 2 || g_asyncs < 1 || g_changed_calls < 1) {
    ev_timer_set(watcher, 0.001, 0.);
    ev_timer_start(loop, watcher);
    return;
  }
  ev_timer_set(watcher, kHour, 0.);
  LEAF("timer", "on_turn"), ev_timer_start(loop, watcher);
  dispatched("on_readable", g_reads);
  dispatched("on_tick", g_ticks);
  check("own callback", g_once_had_its_callback && ev_cb(&g_once) == on_once);
  check("own callback", ev_cb(&g_changed) == on_other_timer && ev_cb(&g_changed_once) == on_changed_once);
  ready();
}

FUNCTION watch() {
  check("pipe", pipe(g_pipe) == 0 && write(g_pipe[1], "ab", 2) == 2);
  ev_io_init(&g_reader, on_readable, g_pipe[0], EV_READ);
  LEAF("read", "on_readable"), ev_io_start(g_loop, &g_reader);
  ev_io_start(g_loop, &g_reader);
  int full[2];
  check("pipe", pipe(full) == 0);
  ev_io_init(&g_writer, on_writable, full[0], EV_READ | EV_WRITE);
  LEAF("read or write", "on_writable"), ev_io_start(g_loop, &g_writer);
  ev_timer_init(&g_timer, on_timer, kHour, 0.);
  LEAF("timer", "on_timer"), ev_timer_start(g_loop, &g_timer);
  ev_timer_init(&g_tick, on_tick, 0.001, 0.001);
  ev_timer_start(g_loop, &g_tick);
  ev_timer_init(&g_once, on_once, 0.001, 0.);
  ev_timer_start(g_loop, &g_once);
  ev_timer_init(&g_again, on_timer, 0., kHour);
  LEAF("timer", "on_timer"), ev_timer_again(g_loop, &g_again);
  ev_periodic_init(&g_periodic, on_periodic, 0., kHour, nullptr);
  LEAF("timer", "on_periodic"), ev_periodic_start(g_loop, &g_periodic);
  ev_signal_init(&g_signal, on_signal, SIGUSR1);
  LEAF("signal", "on_signal"), ev_signal_start(g_loop, &g_signal);
  ev_child_init(&g_child, on_child, getpid(), 0);
  LEAF("child process", "on_child"), ev_child_start(g_loop, &g_child);
  ev_stat_init(&g_stat, on_stat, "/", 0.);
  LEAF("file change", "on_stat"), ev_stat_start(g_loop, &g_stat);
  ev_idle_init(&g_idle, on_idle);
  ev_idle_start(g_loop, &g_idle);
  ev_prepare_init(&g_prepare, on_prepare);
  LEAF("prepare", "on_prepare"), ev_prepare_start(g_loop, &g_prepare);
  ev_check_init(&g_check, on_check);
  LEAF("check", "on_check"), ev_check_start(g_loop, &g_check);
  ev_fork_init(&g_fork, on_fork);
  LEAF("fork", "on_fork"), ev_fork_start(g_loop, &g_fork);
  ev_cleanup_init(&g_cleanup, on_cleanup);
  LEAF("end of the loop", "on_cleanup"), ev_cleanup_start(g_loop, &g_cleanup);
  ev_async_init(&g_async, on_async);
  LEAF("async", "on_async"), ev_async_start(g_loop, &g_async);
  ev_async_send(g_loop, &g_async);
}

// Behind the agent's back; the second has been called by the time that everything has.
FUNCTION change() {
  ev_timer_init(&g_changed, on_timer, kHour, 0.);
  CHANGED("timer", "on_other_timer"), ev_timer_start(g_loop, &g_changed);
  ev_set_cb(&g_changed, on_other_timer);
  ev_timer_init(&g_changed_once, on_timer, 0.001, 0.);
  ev_timer_start(g_loop, &g_changed_once);
  ev_set_cb(&g_changed_once, on_changed_once);
}

// Loops that are destroyed with what waits in them.
FUNCTION destroy() {
  struct ev_loop* other = ev_loop_new(0);
  ev_timer_init(&g_left, on_timer, kHour, 0.);
  ev_timer_start(other, &g_left);
  auto* freed = static_cast<ev_timer*>(malloc(sizeof(ev_timer)));
  ev_timer_init(freed, on_timer, kHour, 0.);
  ev_timer_start(other, freed);
  ev_loop_destroy(other);
  free(freed);
  ev_timer_init(&g_left, on_other_timer, kHour, 0.);
  LEAF("timer", "on_other_timer"), ev_timer_start(g_loop, &g_left);
}

// What has been started and waits no more.
FUNCTION forget() {
  ev_io_init(&g_stopped, on_readable, g_pipe[1], EV_WRITE);
  ev_io_start(g_loop, &g_stopped);
  check("thunk", ev_cb(&g_stopped) != nullptr);
  ev_io_stop(g_loop, &g_stopped);
  check("own callback", ev_cb(&g_stopped) == on_readable);
  ev_timer_init(&g_idle_time, on_timer, 0., 0.);
  ev_timer_again(g_loop, &g_idle_time);
  check("own callback", ev_cb(&g_idle_time) == on_timer);
  g_idle_time.repeat = kHour;
  ev_timer_again(g_loop, &g_idle_time);
  g_idle_time.repeat = 0.;
  ev_timer_again(g_loop, &g_idle_time);
  for (int i = 0; i < 1000; i++) {
    auto* many = static_cast<ev_timer*>(malloc(sizeof(ev_timer)));
    ev_timer_init(many, on_timer, kHour, 0.);
    ev_timer_start(g_loop, many);
    ev_timer_stop(g_loop, many);
    free(many);
  }
  // A copy, and another callback.
  ev_timer first, second;
  ev_timer_init(&first, on_break, 0., 0.);
  struct ev_loop* other = ev_loop_new(0);
  ev_timer_start(other, &first);
  ev_run(other, 0);
  second = first;
  ev_set_cb(&first, on_other_timer);
  ev_timer_start(other, &first);
  ev_timer_start(other, &second);
  check("broken", ev_run(other, 0) != 0 || !ev_is_active(&second));
  ev_timer_stop(other, &first);
  ev_timer_stop(other, &second);
  ev_loop_destroy(other);
}

int main() {
  LEAF("signal", "internal"), g_loop = ev_default_loop(0);
  watch();
  change();
  destroy();
  forget();
  ev_io_init(&g_end, on_end, STDIN_FILENO, EV_READ);
  LEAF("read", "on_end"), ev_io_start(g_loop, &g_end);
  ev_timer_init(&g_turn, on_turn, 0., 0.);
  ev_timer_start(g_loop, &g_turn);
  return ev_run(g_loop, 0);
}
