// What the native API tells of a task beyond its TaskEntry: name, runtime, spawn site, who woke it. Private
// and published side by side under the same slot number. Any thread; none allocates or blocks.
#pragma once

#include <cstdint>

#include "agent/thread_context.hpp"
#include "common/segment.hpp"

namespace asynctrace::agent {

bool start_native_tasks();

struct NativeTaskFacts {
  const char* runtime;
  const char* name;
  uint64_t spawn_site;
};

// The slot of the new record; kNone: no room (counted).
uint32_t add_native_task(const HookGuard& guard, uint64_t task_id, const NativeTaskFacts& facts);
void end_native_task(const HookGuard& guard, uint32_t slot);

// The task was woken in a poll of task `waker_id`, 0: from outside any.
void note_waker(uint32_t slot, uint64_t waker_id);

// Fills the segment of a forked child.
void republish_native_tasks();

}  // namespace asynctrace::agent
