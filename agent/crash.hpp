// abort() as the target sees it: leaves the calling thread's stack and task in the segment, then becomes the
// real one, with registers, stack and errno as they were. What comes from here is all that is known of a
// crash where nobody waits for the process. Public symbols: see exports.map.
#pragma once

#include <cstddef>
#include <cstdint>

#include "agent/capture/unwinder.hpp"

namespace asynctrace::agent {

// Finds the functions that the interposed ones stand before. From the constructor.
void start_crash();

// Says in the segment where the poll hook is, so that a reader finds a task's part of a native stack.
void publish_poll_hook();

inline constexpr size_t kCrashStackSize = 32768;

}  // namespace asynctrace::agent

extern "C" {
// What <arch>_crash.S needs. The real functions, null until they are found.
extern void* asynctrace_real_abort;
extern void* asynctrace_real_assert_fail;
void asynctrace_find_real_abort();
// One thread at a time runs asynctrace_record_abort, on a stack of its own: abort() may be called with little
// stack left, from a handler on an alternate one.
extern char asynctrace_crash_stack[asynctrace::agent::kCrashStackSize];
extern uint32_t asynctrace_crash_busy;
void asynctrace_record_abort(const asynctrace::agent::CallerRegisters* caller);
}
