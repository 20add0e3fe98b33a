// GLib 2: gmain.h, glib-unix.h, giochannel.h. Whoever ends a source, and that is often GLib itself, its
// destroy notification comes once nothing will call its callback any more, in whatever thread.
#include <poll.h>

#include "agent/loops/libraries.hpp"
#include "common/include/asynctrace/abi.h"

namespace asynctrace::agent {
namespace {

constexpr const char* kNames[] = {"libglib-2.0.so.0"};
constexpr EventWord kEvents[] = {{0x01, "read", ASYNCTRACE_IO, POLLIN},
                                 {0x02, "urgent data", ASYNCTRACE_IO, POLLPRI},
                                 {0x04, "write", ASYNCTRACE_IO, POLLOUT}};
constexpr WatcherType kTypes[] = {{"g_timeout_funcs", "timer", ASYNCTRACE_TIMER},
                                  {"g_idle_funcs", "idle", ASYNCTRACE_UNKNOWN},
                                  {"g_io_watch_funcs", "io", ASYNCTRACE_IO},
                                  {"g_unix_fd_source_funcs", "io", ASYNCTRACE_IO},
                                  {"g_unix_signal_funcs", "signal", ASYNCTRACE_SIGNAL},
                                  {"g_child_watch_funcs", "child process", ASYNCTRACE_SIGNAL}};

// g_..._add_full(priority, what, callback, data, notify)
constexpr Row full(const char* function, Place callback, const char* kind, uint8_t leaf_class) {
  return {.function = function,
          .role = LoopRole::kArm,
          .watcher = kResult,
          .callback = callback,
          .repeats = kAgainAndAgain,
          .notify = static_cast<Place>(callback + 2),
          .kind = kind,
          .kind_class = leaf_class};
}
constexpr Row short_of(Row row, const char* function, int8_t priority_at = 0, uint8_t priority = 0) {
  row.instead = row.function;
  row.function = function;
  row.inserted_at = priority_at;
  row.inserted = priority;
  return row;
}
constexpr Row once(Row row) {
  row.returns_nothing = true;
  return row;
}
constexpr Row on(Row row, Place descriptor, Place events = kAbsent) {
  row.descriptor = descriptor;
  row.events = events;
  return row;
}

constexpr Row due(Row row, DueUnit unit) {
  row.due = {.unit = unit, .time = 1};
  return row;
}

constexpr Row kTimeout =
    due(full("g_timeout_add_full", 2, "timer", ASYNCTRACE_TIMER), DueUnit::kMilliseconds32);
constexpr Row kTimeoutSeconds =
    due(full("g_timeout_add_seconds_full", 2, "timer", ASYNCTRACE_TIMER), DueUnit::kSeconds32);
constexpr Row kIdle = full("g_idle_add_full", 1, "idle", ASYNCTRACE_UNKNOWN);
constexpr Row kChannel = on(full("g_io_add_watch_full", 3, "io", ASYNCTRACE_IO), kAbsent, 2);
constexpr Row kUnixFd = on(full("g_unix_fd_add_full", 3, "io", ASYNCTRACE_IO), 1, 2);
constexpr Row kUnixSignal = on(full("g_unix_signal_add_full", 2, "signal", ASYNCTRACE_SIGNAL), 1);
constexpr Row kChild = full("g_child_watch_add_full", 2, "child process", ASYNCTRACE_SIGNAL);
constexpr uint8_t kPriorityDefaultIdle = 200;
constexpr Place kTypeOfSource = field(0, 16);  // GSource::source_funcs
constexpr Place kNameOfSource = field(0, 80);

constexpr Row kRows[] = {
    kTimeout,
    short_of(kTimeout, "g_timeout_add"),
    once(short_of(kTimeout, "g_timeout_add_once")),
    kTimeoutSeconds,
    short_of(kTimeoutSeconds, "g_timeout_add_seconds"),
    kIdle,
    short_of(kIdle, "g_idle_add", 0, kPriorityDefaultIdle),
    once(short_of(kIdle, "g_idle_add_once", 0, kPriorityDefaultIdle)),
    kChannel,
    short_of(kChannel, "g_io_add_watch", 1),
    kUnixFd,
    short_of(kUnixFd, "g_unix_fd_add"),
    kUnixSignal,
    short_of(kUnixSignal, "g_unix_signal_add"),
    kChild,
    short_of(kChild, "g_child_watch_add"),
    {.function = "g_source_set_callback",
     .role = LoopRole::kSetCallback,
     .watcher = 0,
     .callback = 1,
     .repeats = kAgainAndAgain,
     .active = field(0, 32),  // its context
     .type = kTypeOfSource,
     .name = kNameOfSource,
     .notify = 3,
     .kind = "source",
     .kind_class = ASYNCTRACE_UNKNOWN},
    {.function = "g_source_set_ready_time",
     .role = LoopRole::kChange,
     .watcher = 0,
     .due = {.unit = DueUnit::kReadyTime, .time = 1}},
    {.function = "g_source_attach",
     .role = LoopRole::kArm,
     .watcher = 0,
     .type = kTypeOfSource,
     .name = kNameOfSource,
     .kind = "source",
     .kind_class = ASYNCTRACE_UNKNOWN},
    {.function = "g_source_destroy", .role = LoopRole::kFree, .watcher = 0, .only_sources = true},
    {.function = "g_main_loop_run", .role = LoopRole::kLoop, .watcher = 0},
    {.function = "g_main_context_iteration", .role = LoopRole::kLoop, .watcher = 0},
};

}  // namespace

constinit const Library kGlib = {.name = "GLib",
                                 .sonames = kNames,
                                 .events = kEvents,
                                 .types = kTypes,
                                 .naming = "libgio-2.0.so.0",
                                 .rows = kRows};

}  // namespace asynctrace::agent
