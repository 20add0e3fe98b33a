// Leaves: one record for each place where a task waits, private and published side by side under the same
// number. All functions may run in any thread; none allocates or blocks.
#pragma once

#include <atomic>
#include <cstdint>

#include "agent/tasks.hpp"
#include "agent/thread_context.hpp"

namespace asynctrace::agent {

// The private half: what a wrapped waker points to. The program's behaviour depends on nothing else; the
// numbers of the other half are read back for other numbers alone.
struct LeafEntry {
  uint64_t waker_data;  // of the original waker
  uint64_t task_id;
  uint32_t task;                 // slot
  uint32_t seq;                  // of its record: a forked child's parent may have used that for another leaf
  std::atomic<uint32_t> wakers;  // wrapped wakers that share this leaf; 0: free, or without an exact end
  uint16_t table;                // of the original waker
  uint8_t flags : 6;             // segment::LeafFlags
  uint8_t vtable_first : 1;      // order of the two words of a RawWaker
  uint8_t counted : 1;           // in its task's live_leaves
  std::atomic<bool> woken;       // by reference, so the waker lives on; a leaf that replaces it waits anew
};
static_assert(sizeof(LeafEntry) == 32);

bool start_leaves();
LeafEntry& leaf_entry(uint32_t leaf);
uint32_t leaf_number(const LeafEntry& entry);
// Its record; of a leaf that lasts as long as the caller needs it. Where a forked child could not have it
// from its parent, all zero.
segment::Leaf leaf_record(uint32_t leaf);

// Whose leaf it is, and when it began (see segment::Leaf).
struct LeafOwner {
  uint32_t task;  // slot
  uint64_t task_id;
  uint32_t poll;
  bool own_waker;
  uint64_t registered;
  uint64_t since;
  bool counted = false;  // in its task's live_leaves
  // Of the native API:
  uint64_t joins = 0;  // header of the task whose end it waits for, where the thread's context does not tell
  uint16_t label = 0;  // what it waits for, as segment::Leaf::flags has it
};

// Begins a leaf that ends with its waker. kNone: no room (counted).
uint32_t begin_leaf(const HookGuard& guard, const LeafOwner& owner, uint32_t stack);

// Ends it. `dropped`: its waker was dropped, not woken; a leaf that is dropped and begun again at the same
// stack within one poll keeps its waiting time. A guard that is empty (inside a signal handler) will do.
void end_leaf(const HookGuard& guard, uint32_t leaf, bool dropped);

// The program holds the original waker of this stack: begins or renews a leaf without an exact end.
void renew_inexact_leaf(const HookGuard& guard, const LeafOwner& owner, uint32_t stack);
void end_inexact_leaves(const HookGuard& guard, TaskEntry& task);

// The last waker of a task is gone: remembers where it was cloned. Replaces what was remembered before. Any
// thread may do so, whoever else does the same or ends the task.
void keep_lost_leaf(const HookGuard& guard, const LeafOwner& owner, uint32_t stack);
void end_lost_leaf(const HookGuard& guard, TaskEntry& task);

// A leaf that a poll on request has met, in front of those of the chain that begins at `next` (kNone: none).
// Returns its number, `next` where there is no room (counted).
uint32_t add_met_leaf(const HookGuard& guard, const LeafOwner& owner, uint32_t stack, uint32_t next);
void end_met_leaves(const HookGuard& guard, uint32_t first);

// Fills the segment of a forked child. `parents`: the records of its parent, which still writes them: what it
// has changed since the fork is lost (counted).
void republish_leaves(const segment::Leaf* parents);

}  // namespace asynctrace::agent
