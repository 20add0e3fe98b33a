// Whether this process is being traced, in one word that fork wipes: a forked child finds itself not tracing
// until it has a segment of its own, and can never write its parent's. Any thread, any time.
#pragma once

#include <atomic>
#include <cstdint>

#include "agent/config.hpp"
#include "agent/segment_writer.hpp"

namespace asynctrace::agent {

struct Live {
  std::atomic<uint32_t> parent;    // 1: not forked since the agent's constructor
  std::atomic<uint32_t> tracing;   // 1: hooks may record
  std::atomic<uint32_t> adopting;  // 1: some thread of a forked child is making its segment
};

extern std::atomic<Live*> g_live;  // on a page of its own with MADV_WIPEONFORK; null: never traced
extern uint32_t g_generation;      // counts segments of this process and its ancestors by fork
extern SegmentWriter g_segment;    // valid while tracing
extern Config g_config;

// After `asynctrace detach`: slots hold again what they held, so no poll, wait or waker begins to be
// recorded. What was under way goes on to its end, for its records are still ours.
inline std::atomic<bool> g_detached{false};

// Makes the wiped page. False: the kernel cannot do it, and then nothing may be traced.
bool start_live_page();

// From now on hooks record.
void go_live();

// Whether this process has been forked, without exec, since start_live_page(); after the first question only
// in a further child.
bool is_forked_child();

// For a hook that found `tracing` unset: in a forked child makes the segment and fills it from private
// memory. True: tracing now.
bool adopt_after_fork();

inline bool tracing() {
  Live* live = g_live.load(std::memory_order_acquire);
  if (live == nullptr) return false;
  if (live->tracing.load(std::memory_order_acquire) != 0) [[likely]]
    return true;
  return adopt_after_fork();
}

// After a broken invariant: hooks pass through from now on. Wakers already wrapped keep working.
void turn_off(segment::OffReason reason);

}  // namespace asynctrace::agent
