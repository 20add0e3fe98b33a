// capture(): the stack between a leaf and the root of its poll, as a stack number. A path is walked once with
// libunwind; from then on a *verified memo* recognises it by comparing, nearest first, the return addresses
// that it expects in fixed places. That is exact by induction: equal code at one frame puts the next frame at
// the same distance, as long as every frame lies at a fixed distance from sp or rbp (then the saved rbp is
// compared too). Other frames are walked each time. Any thread; allocates from private memory only; takes no
// lock. Technique: asynctrace's own; see test/bench/capture_bench.cpp for what it costs.
#pragma once

#include <cstdint>

#include "agent/capture/stack_table.hpp"
#include "agent/thread_context.hpp"

namespace asynctrace::agent {

// Where the leaf called into the agent, read by the hook itself, which must be compiled with a frame pointer.
struct LeafSite {
  uint64_t caller_sp;       // stack pointer after the hook has returned
  uint64_t return_address;  // into the leaf

  // For use in the hook function: `__builtin_frame_address(0)` is where the caller's rbp was pushed.
  static LeafSite of_hook(const void* frame_address) {
    const auto* words = static_cast<const uint64_t*>(frame_address);
    return {reinterpret_cast<uint64_t>(words + 2), words[1]};
  }
};

bool start_capture();

// Null: no room for a new stack (counted). Ends polls that were left by a panic where the walk finds them so:
// look at the context's frame only afterwards.
StackEntry* capture(const HookGuard& guard, const LeafSite& site);

// The frames below `root`, an address in the stack frame of any function; it is believed to be still there.
// There may be none, then the stack's `count` is 0 and it has no number. Null as above.
StackEntry* capture_below(const HookGuard& guard, const LeafSite& site, uintptr_t root);

}  // namespace asynctrace::agent
