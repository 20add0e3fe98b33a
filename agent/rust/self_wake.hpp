// Crates that wake the waker they replace (want, under hyper's client; async-io's poll_ready). They ask
// will_wake() first, and that is false for a wrapped waker, so with wrapped wakers their task would wake
// itself for ever. Where a clone stack shows this it gets the original waker from then on. Any thread, inside
// a hook.
#pragma once

#include <cstdint>

#include "agent/capture/stack_table.hpp"
#include "agent/leaves.hpp"
#include "agent/thread_context.hpp"

namespace asynctrace::agent {

// A wrapped waker is being woken. Marks its clone stack if that is a task waking what it has just replaced.
void note_self_wake(const HookGuard& guard, const LeafEntry& entry);

// Whether a clone at this stack must get the original waker.
bool wants_original(const HookGuard& guard, const LeafOwner& owner, StackEntry& stack);

}  // namespace asynctrace::agent
