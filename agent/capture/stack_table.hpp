// Every distinct stack once: return addresses -> stack number, private and published side by side. Lock-free,
// append-only; any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "agent/arena.hpp"
#include "agent/modules.hpp"

namespace asynctrace::agent {

struct StackEntry {
  StackEntry* next;
  uint64_t hash;
  uint32_t number;  // index in the segment
  uint16_t count;
  uint16_t flags;  // segment::StackFlags, as the walk found them
  // The module that some of its code went with: its number + 1; 0: all of it is there.
  std::atomic<uint32_t> gone_with;
  // See note_self_wake() in agent/rust/self_wake.cpp.
  std::atomic<bool> self_waking;
  std::atomic<uint32_t> self_wakes;      // in a row, each close to the one before
  std::atomic<uint64_t> last_self_wake;  // ticks
  uint64_t pcs[];                        // innermost first
};

bool start_stacks();

// Memory for stacks and what else is known of them for good.
Arena& stack_arena();

// Null: no room (counted).
StackEntry* intern_stack(std::span<const uint64_t> pcs, uint16_t flags);

// By number; null if there is none.
StackEntry* stack_entry(uint32_t number);

// A module has gone, or has come back: what leads through it is not recognised meanwhile. One thread at a
// time.
void mark_stacks_gone(const LoadedModule& module);
void mark_stacks_back(const LoadedModule& module);

// Fills the segment of a forked child.
void republish_stacks();

}  // namespace asynctrace::agent
