// Polls in progress: one Frame of the thread's context for each. For the hooks of every kind of runtime.
#pragma once

#include <cstdint>

#include "agent/thread_context.hpp"

namespace asynctrace::agent {

// Begins a poll of the task at `header`, whose record is made at need; `root` as in Frame. Null: nested too
// deeply to be recorded.
Frame* push_poll(const HookGuard& guard, uint64_t header, uint16_t poller, uintptr_t root);

// The same of a task that is known.
Frame* push_poll_of(const HookGuard& guard, uint32_t task, uint64_t task_id, uint64_t header, uintptr_t root);

// Takes the innermost poll away; what it left of its task is the caller's to tell.
void pop_poll(const HookGuard& guard);

}  // namespace asynctrace::agent
