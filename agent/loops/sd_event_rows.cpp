// sd-event: systemd/sd-event.h. Systemd's own programs have it in a library of theirs.
#include "agent/loops/libraries.hpp"
#include "common/include/asynctrace/abi.h"

namespace asynctrace::agent {
namespace {

constexpr const char* kNames[] = {"libsystemd.so.0", "libsystemd-shared-"};

constexpr Row add(const char* function, Place callback, Place repeats, const char* kind, uint8_t leaf_class,
                  Place descriptor = kAbsent, Place events = kAbsent) {
  return {.function = function,
          .role = LoopRole::kArm,
          .watcher = stored_at(1),
          .callback = callback,
          .descriptor = descriptor,
          .events = events,
          .repeats = repeats,
          .loop = 0,
          .stack_words = static_cast<uint8_t>(callback == 5 ? 1 : 0),
          .kind = kind,
          .kind_class = leaf_class,
          .fails_below_0 = true,
          .error_disarms = true};
}

// (event, source, clock, time, slack, ..)
constexpr Row due(Row row, DueUnit unit) {
  row.due = {.unit = unit, .time = 3, .clock = 2, .slack = 4};
  return row;
}
constexpr Row change_due(const char* function, DueUnit unit) {
  return {.function = function,
          .role = LoopRole::kChange,
          .watcher = 0,
          .due = {.unit = unit, .time = 1},
          .fails_below_0 = true};
}

constexpr Row kRows[] = {
    add("sd_event_add_io", 4, kAgainAndAgain, "io", ASYNCTRACE_IO, 2, 3),
    due(add("sd_event_add_time", 5, kOneTime, "timer", ASYNCTRACE_TIMER), DueUnit::kMicroseconds),
    due(add("sd_event_add_time_relative", 5, kOneTime, "timer", ASYNCTRACE_TIMER),
        DueUnit::kMicrosecondsFromNow),
    add("sd_event_add_signal", 3, kAgainAndAgain, "signal", ASYNCTRACE_SIGNAL, 2),
    add("sd_event_add_child", 4, kOneTime, "child process", ASYNCTRACE_SIGNAL),
    add("sd_event_add_child_pidfd", 4, kOneTime, "child process", ASYNCTRACE_SIGNAL, 2),
    add("sd_event_add_inotify", 4, kAgainAndAgain, "file change", ASYNCTRACE_IO),
    add("sd_event_add_inotify_fd", 4, kAgainAndAgain, "file change", ASYNCTRACE_IO, 2),
    add("sd_event_add_defer", 2, kOneTime, "defer", ASYNCTRACE_UNKNOWN),
    add("sd_event_add_post", 2, kAgainAndAgain, "post", ASYNCTRACE_UNKNOWN),
    add("sd_event_add_exit", 2, kOneTime, "end of the loop", ASYNCTRACE_UNKNOWN),
    {.function = "sd_event_source_set_enabled",
     .role = LoopRole::kSwitch,
     .watcher = 0,
     .repeats = 1,
     .fails_below_0 = true},
    change_due("sd_event_source_set_time", DueUnit::kSameClock),
    change_due("sd_event_source_set_time_relative", DueUnit::kSameClockFromNow),
    change_due("sd_event_source_set_time_accuracy", DueUnit::kForgotten),
    {.function = "sd_event_source_set_io_fd",
     .role = LoopRole::kChange,
     .watcher = 0,
     .descriptor = 1,
     .fails_below_0 = true},
    {.function = "sd_event_source_set_io_events",
     .role = LoopRole::kChange,
     .watcher = 0,
     .events = 1,
     .fails_below_0 = true},
    {.function = "sd_event_source_ref", .role = LoopRole::kHold, .watcher = 0},
    {.function = "sd_event_source_unref", .role = LoopRole::kFree, .watcher = 0},
    {.function = "sd_event_source_disable_unref",
     .role = LoopRole::kFree,
     .watcher = 0,
     .also_disarms = true},
    // Sources that the program does not hold end with their loop, which begins with the number of its
    // references.
    {.function = "sd_event_unref", .role = LoopRole::kFreeLoop, .loop = 0, .references = field(0, 0)},
    {.function = "sd_event_loop", .role = LoopRole::kLoop, .watcher = 0},
    {.function = "sd_event_run", .role = LoopRole::kLoop, .watcher = 0},
    {.function = "sd_event_dispatch", .role = LoopRole::kLoop, .watcher = 0},
};

}  // namespace

constinit const Library kSdEvent = {
    .name = "sd-event", .sonames = kNames, .events = kEpollEvents, .rows = kRows};

}  // namespace asynctrace::agent
