#include <poll.h>

#include "agent/loops/libraries.hpp"
#include "common/include/asynctrace/abi.h"

namespace asynctrace::agent {
namespace {

// libevent 2: event2/event.h
constexpr const char* kNames[] = {"libevent-2.", "libevent_core-2."};
constexpr EventWord kEvents[] = {{0x02, "read", ASYNCTRACE_IO, POLLIN},
                                 {0x04, "write", ASYNCTRACE_IO, POLLOUT},
                                 {0x08, "signal", ASYNCTRACE_SIGNAL},
                                 {0x80, "close", ASYNCTRACE_IO, POLLRDHUP}};
constexpr uint32_t kPersist = 0x10;
constexpr DueColumn timeout(Place argument) {
  return {.unit = DueUnit::kTimeval, .time = argument};
}
constexpr Row kRows[] = {
    {.function = "event_assign",
     .role = LoopRole::kSetCallback,
     .watcher = 0,
     .callback = 4,
     .descriptor = 2,
     .events = 3,
     .kind = "timer",
     .kind_class = ASYNCTRACE_TIMER,
     .fails_by_result = true},
    {.function = "event_set",
     .role = LoopRole::kSetCallback,
     .watcher = 0,
     .callback = 3,
     .descriptor = 1,
     .events = 2,
     .kind = "timer",
     .kind_class = ASYNCTRACE_TIMER},
    {.function = "event_new",
     .role = LoopRole::kSetCallback,
     .watcher = kResult,
     .callback = 3,
     .descriptor = 1,
     .events = 2,
     .kind = "timer",
     .kind_class = ASYNCTRACE_TIMER},
    {.function = "event_add",
     .role = LoopRole::kArm,
     .watcher = 0,
     .due = timeout(1),
     .fails_by_result = true},
    {.function = "event_del", .role = LoopRole::kDisarm, .watcher = 0},
    {.function = "event_del_block", .role = LoopRole::kDisarm, .watcher = 0},
    {.function = "event_del_noblock", .role = LoopRole::kDisarm, .watcher = 0},
    {.function = "event_remove_timer",
     .role = LoopRole::kDisarm,
     .watcher = 0,
     .due = {.unit = DueUnit::kForgotten},
     .kind_class = ASYNCTRACE_TIMER},
    {.function = "event_free", .role = LoopRole::kFree, .watcher = 0},
    {.function = "event_debug_unassign", .role = LoopRole::kFree, .watcher = 0},
    {.function = "event_finalize", .role = LoopRole::kFree, .watcher = 1},
    {.function = "event_free_finalize", .role = LoopRole::kFree, .watcher = 1},
    {.function = "event_once",
     .role = LoopRole::kOnce,
     .callback = 2,
     .descriptor = 0,
     .events = 1,
     .due = timeout(4),
     .kind = "timer",
     .kind_class = ASYNCTRACE_TIMER,
     .fails_by_result = true},
    {.function = "event_base_once",
     .role = LoopRole::kOnce,
     .callback = 3,
     .descriptor = 1,
     .events = 2,
     .due = timeout(5),
     .kind = "timer",
     .kind_class = ASYNCTRACE_TIMER,
     .fails_by_result = true},
    {.function = "event_base_loop", .role = LoopRole::kLoop, .watcher = 0},
    {.function = "event_base_dispatch", .role = LoopRole::kLoop, .watcher = 0},
    {.function = "event_get_callback", .role = LoopRole::kCallbackOf, .callback = kResult},
    {.function = "event_get_assignment", .role = LoopRole::kCallbackOf, .callback = stored_at(4)},
};

}  // namespace

constinit const Library kLibevent = {
    .name = "libevent", .sonames = kNames, .events = kEvents, .persistent = kPersist, .rows = kRows};

}  // namespace asynctrace::agent
