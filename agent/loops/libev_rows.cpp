// libev 4: ev.h. A watcher's callback is a field of it, which the program sets by a macro, and so are what it
// watches and whether it is active. As the struct is the program's, nothing of the agent stays in it once it
// waits no more: a stopped watcher has ended, and its next start is another one's.
#include <poll.h>

#include "agent/loops/libraries.hpp"
#include "agent/loops/watchers.hpp"
#include "common/include/asynctrace/abi.h"

namespace asynctrace::agent {
namespace {

constexpr const char* kNames[] = {"libev.so.4"};
constexpr EventWord kEvents[] = {{0x1, "read", ASYNCTRACE_IO, POLLIN},
                                 {0x2, "write", ASYNCTRACE_IO, POLLOUT}};

constexpr Row start(const char* function, const char* kind, uint8_t leaf_class, Place descriptor = kAbsent,
                    Place events = kAbsent) {
  return {.function = function,
          .role = LoopRole::kArm,
          .watcher = 1,
          .callback = field(1, 24),
          .descriptor = descriptor,
          .events = events,
          .repeats = kAgainAndAgain,
          .active = field(1, 0),
          .loop = 0,
          .kind = kind,
          .kind_class = leaf_class};
}

constexpr Row again(const char* function, const char* kind, uint8_t leaf_class) {
  Row row = start(function, kind, leaf_class);
  row.renews = true;
  return row;
}

constexpr Place kAt = field(1, 32), kRepeat = field(1, 40);
constexpr uint8_t kRepeatAt = 40 / 8 | kAgainInSeconds;
constexpr Row due(Row row, Place first) {
  row.due = {.unit = DueUnit::kSeconds, .time = first, .again_at = kRepeatAt};
  return row;
}

// The loop stops a timer that is due for the last time right before its dispatch.
constexpr Row stop(const char* function) {
  return {.function = function,
          .role = LoopRole::kFree,
          .watcher = 1,
          .callback = field(1, 24),
          .not_by_loop = true};
}

constexpr Row kRows[] = {
    start("ev_io_start", "io", ASYNCTRACE_IO, field(1, 40), field(1, 44)),
    stop("ev_io_stop"),
    due(start("ev_timer_start", "timer", ASYNCTRACE_TIMER), kAt),
    due(again("ev_timer_again", "timer", ASYNCTRACE_TIMER), kRepeat),
    stop("ev_timer_stop"),
    start("ev_periodic_start", "timer", ASYNCTRACE_TIMER),
    again("ev_periodic_again", "timer", ASYNCTRACE_TIMER),
    stop("ev_periodic_stop"),
    start("ev_signal_start", "signal", ASYNCTRACE_SIGNAL, field(1, 40)),
    stop("ev_signal_stop"),
    start("ev_child_start", "child process", ASYNCTRACE_SIGNAL),
    stop("ev_child_stop"),
    start("ev_stat_start", "file change", ASYNCTRACE_IO),
    stop("ev_stat_stop"),
    start("ev_idle_start", "idle", ASYNCTRACE_UNKNOWN),
    stop("ev_idle_stop"),
    start("ev_prepare_start", "prepare", ASYNCTRACE_UNKNOWN),
    stop("ev_prepare_stop"),
    start("ev_check_start", "check", ASYNCTRACE_UNKNOWN),
    stop("ev_check_stop"),
    start("ev_embed_start", "embedded loop", ASYNCTRACE_IO),
    stop("ev_embed_stop"),
    start("ev_fork_start", "fork", ASYNCTRACE_UNKNOWN),
    stop("ev_fork_stop"),
    start("ev_cleanup_start", "end of the loop", ASYNCTRACE_UNKNOWN),
    stop("ev_cleanup_stop"),
    start("ev_async_start", "async", ASYNCTRACE_SYNC),
    stop("ev_async_stop"),
    {.function = "ev_loop_destroy", .role = LoopRole::kFreeLoop, .loop = 0},
    {.function = "ev_run", .role = LoopRole::kLoop, .watcher = 0},
};

}  // namespace

constinit const Library kLibev = {.name = "libev", .sonames = kNames, .events = kEvents, .rows = kRows};

}  // namespace asynctrace::agent
