// GLib: a source in each role of the table of GLib's functions, in ways that the lines on stdout tell. Ends
// at the end of stdin.
#include <fcntl.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <glib.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "truth.hpp"

#define FUNCTION extern "C" __attribute__((noinline)) void
#define CALLBACK extern "C" __attribute__((noinline)) gboolean

namespace {

constexpr guint kHour = 3'600'000;
int g_pipe[2];
int g_quiet[2];
int g_reads = 0;
int g_ticks = 0;
int g_notified = 0;
int g_once_calls = 0;
int g_dispatched = 0;
int g_mark;  // the data of every callback

}  // namespace

FUNCTION on_notify(gpointer data) {
  if (data == &g_mark) g_notified++;
}
CALLBACK on_timer(gpointer) {
  return G_SOURCE_CONTINUE;
}
CALLBACK on_other_timer(gpointer) {
  return G_SOURCE_CONTINUE;
}
CALLBACK on_once(gpointer data) {
  check("data", data == &g_mark);
  return G_SOURCE_REMOVE;
}
// What it leaves in the register of a result means nothing.
FUNCTION on_nothing(gpointer data) {
  check("data", data == &g_mark);
  g_once_calls++;
}
CALLBACK on_socket(GSocket*, GIOCondition, gpointer) {
  return G_SOURCE_CONTINUE;
}
CALLBACK on_cancelled(GCancellable*, gpointer) {
  return G_SOURCE_CONTINUE;
}
CALLBACK on_tick(gpointer) {
  return ++g_ticks < 3;
}
CALLBACK on_signal(gpointer) {
  return G_SOURCE_CONTINUE;
}
CALLBACK on_readable(gint fd, GIOCondition, gpointer) {
  char byte;
  if (read(fd, &byte, 1) == 1) g_reads++;
  return G_SOURCE_CONTINUE;
}
CALLBACK on_fd(gint, GIOCondition, gpointer) {
  return G_SOURCE_CONTINUE;
}
CALLBACK on_channel(GIOChannel*, GIOCondition, gpointer) {
  return G_SOURCE_CONTINUE;
}
FUNCTION on_child(GPid, gint, gpointer) {}
CALLBACK on_end(gint, GIOCondition, gpointer) {
  exit(0);
}
CALLBACK on_quit(gpointer loop) {
  g_main_loop_quit(static_cast<GMainLoop*>(loop));
  return G_SOURCE_REMOVE;
}

CALLBACK on_turn(gpointer) {
  if (g_reads < 2 || g_ticks < 3 || g_once_calls < 1 || g_dispatched < 1) return G_SOURCE_CONTINUE;
  LEAF("timer", "on_turn"), g_timeout_add(kHour, on_turn, nullptr);
  dispatched("on_readable", g_reads);
  check("notified", g_notified == 6);
  check("called once", g_once_calls == 1 && g_dispatched == 1);
  ready();
  return G_SOURCE_REMOVE;
}

FUNCTION watch() {
  LEAF("timer", "on_timer"), g_timeout_add(kHour, on_timer, nullptr);
  LEAF("timer", "on_timer"), g_timeout_add_full(G_PRIORITY_LOW, kHour, on_timer, nullptr, nullptr);
  LEAF("timer", "on_timer"), g_timeout_add_seconds(3600, on_timer, nullptr);
  LEAF("timer", "on_timer"), g_timeout_add_seconds_full(0, 3600, on_timer, &g_mark, on_notify);
  g_timeout_add(1, on_tick, nullptr);
  g_idle_add(on_once, &g_mark);
  g_idle_add_once(on_nothing, &g_mark);
  LEAF("timer", "on_nothing"), g_timeout_add_once(kHour, on_nothing, &g_mark);
  g_idle_add_full(G_PRIORITY_HIGH, on_once, &g_mark, on_notify);
  LEAF("signal", "on_signal"), g_unix_signal_add(SIGUSR1, on_signal, nullptr);
  check("pipes",
        g_unix_open_pipe(g_pipe, FD_CLOEXEC, nullptr) && g_unix_open_pipe(g_quiet, FD_CLOEXEC, nullptr));
  check("written", write(g_pipe[1], "ab", 2) == 2);
  LEAF("read", "on_readable"), g_unix_fd_add(g_pipe[0], G_IO_IN, on_readable, nullptr);
  LEAF("read", "on_fd"), g_unix_fd_add_full(0, g_quiet[0], G_IO_IN, on_fd, &g_mark, on_notify);
  GIOChannel* channel = g_io_channel_unix_new(g_quiet[0]);
  const auto events = GIOCondition(G_IO_IN | G_IO_PRI);
  LEAF("read or urgent data", "on_channel"), g_io_add_watch(channel, events, on_channel, nullptr);
  const pid_t parent = getpid();
  const GPid child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (getppid() == parent) pause();
    _exit(0);
  }
  LEAF("child process", "on_child"), g_child_watch_add(child, on_child, nullptr);
}

FUNCTION watch_sources() {
  GSource* timer = g_timeout_source_new(kHour);
  g_source_set_callback(timer, on_timer, &g_mark, on_notify);
  LEAF("timer", "on_timer"), g_source_attach(timer, nullptr);
  g_source_unref(timer);
  GSource* fd = g_unix_fd_source_new(g_quiet[0], G_IO_IN);
  g_source_set_callback(fd, G_SOURCE_FUNC(on_fd), nullptr, nullptr);
  LEAF("io", "on_fd"), g_source_attach(fd, nullptr);
  // Attached first, and another callback later.
  GSource* late = g_timeout_source_new_seconds(3600);
  g_source_attach(late, nullptr);
  g_source_set_callback(late, on_timer, &g_mark, on_notify);
  LEAF("timer", "on_other_timer"), g_source_set_callback(late, on_other_timer, nullptr, nullptr);
}

// Sources of a type of the program's own.
CALLBACK prepare_never(GSource*, gint* timeout) {
  *timeout = -1;
  return FALSE;
}
CALLBACK prepare_now(GSource*, gint* timeout) {
  *timeout = 0;
  return TRUE;
}
CALLBACK check_never(GSource*) {
  return FALSE;
}
CALLBACK dispatch_never(GSource*, GSourceFunc, gpointer) {
  return G_SOURCE_CONTINUE;
}
CALLBACK dispatch_once(GSource*, GSourceFunc, gpointer) {
  g_dispatched++;
  return G_SOURCE_REMOVE;
}

namespace {

GSourceFuncs g_never = {prepare_never, check_never, dispatch_never, nullptr, nullptr, nullptr};
GSourceFuncs g_now = {prepare_now, check_never, dispatch_once, nullptr, nullptr, nullptr};

GSource* source_of(GSourceFuncs& type) {
  return g_source_new(&type, sizeof(GSource));
}

}  // namespace

FUNCTION watch_types() {
  GSource* never = source_of(g_never);
  LEAF("source", "dispatch_never"), g_source_attach(never, nullptr);
  g_source_attach(source_of(g_now), nullptr);
  GSource* destroyed = source_of(g_never);
  g_source_attach(destroyed, nullptr);
  g_source_destroy(destroyed);
  g_source_remove(g_source_attach(source_of(g_never), nullptr));
  // Gets a callback when it is attached already.
  GSource* late = source_of(g_never);
  g_source_attach(late, nullptr);
  LEAF("source", "on_timer"), g_source_set_callback(late, on_timer, nullptr, nullptr);
}

FUNCTION watch_classes() {
  GSocket* socket =
      g_socket_new(G_SOCKET_FAMILY_IPV4, G_SOCKET_TYPE_DATAGRAM, G_SOCKET_PROTOCOL_UDP, nullptr);
  GSource* readable = g_socket_create_source(socket, G_IO_IN, nullptr);
  g_source_set_callback(readable, G_SOURCE_FUNC(on_socket), nullptr, nullptr);
  LEAF("GSocket", "on_socket"), g_source_attach(readable, nullptr);
  GSource* cancelled = g_cancellable_source_new(g_cancellable_new());
  g_source_set_callback(cancelled, G_SOURCE_FUNC(on_cancelled), nullptr, nullptr);
  LEAF("GCancellable", "on_cancelled"), g_source_attach(cancelled, nullptr);
}

// What has been added and waits no more.
FUNCTION forget() {
  g_source_remove(g_timeout_add_once(kHour, on_nothing, &g_mark));
  g_source_remove(g_timeout_add_full(0, kHour, on_timer, &g_mark, on_notify));
  g_source_remove(g_timeout_add(kHour, on_timer, nullptr));
  GSource* destroyed = g_idle_source_new();
  g_source_set_callback(destroyed, on_timer, &g_mark, on_notify);
  g_source_attach(destroyed, nullptr);
  g_source_destroy(destroyed);
  g_source_unref(destroyed);
  GSource* never = g_timeout_source_new(kHour);
  g_source_set_callback(never, on_timer, &g_mark, on_notify);
  g_source_unref(never);
  // All that is left of a context.
  GMainContext* context = g_main_context_new();
  GSource* left = g_timeout_source_new(kHour);
  g_source_set_callback(left, on_timer, &g_mark, on_notify);
  g_source_attach(left, context);
  g_source_unref(left);
  g_main_context_unref(context);
  GMainLoop* loop = g_main_loop_new(nullptr, FALSE);
  g_idle_add(on_quit, loop);
  g_main_loop_run(loop);
  g_main_loop_unref(loop);
  for (int i = 0; i < 1000; i++) g_source_remove(g_timeout_add(kHour, on_timer, nullptr));
}

int main() {
  watch();
  watch_sources();
  watch_types();
  watch_classes();
  forget();
  LEAF("read", "on_end"), g_unix_fd_add(STDIN_FILENO, GIOCondition(G_IO_IN | G_IO_HUP), on_end, nullptr);
  g_timeout_add(1, on_turn, nullptr);
  for (;;) g_main_context_iteration(nullptr, TRUE);
}
