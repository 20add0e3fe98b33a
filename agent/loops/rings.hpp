// io_uring, as programs use it through a shared liburing 2: each operation that has been submitted is a
// watcher without a callback, until its completion is seen in the ring, at the next call of a function that
// liburing exports. Most of its functions are inline and not seen; so operations are taken from the ring,
// too, when they are submitted. Any thread, one at a time for a ring; nothing allocates or blocks.
#pragma once

#include "agent/capture/capture.hpp"
#include "agent/thread_context.hpp"

namespace asynctrace::agent {

// Whether the next call submits anything that would be told of.
bool has_submissions(const void* ring);
// What it submits waits, armed at `stack` (null: lost).
void submit_ring(const HookGuard& guard, const void* ring, const StackEntry* stack);
// What has completed since the last look.
void look_at_completions(const HookGuard& guard, const void* ring);
// The ring is about to be unmapped.
void end_ring(const HookGuard& guard, const void* ring);

}  // namespace asynctrace::agent
