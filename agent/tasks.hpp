// Tasks: one record for each task seen, private and published side by side under the same slot number. All
// functions may run in any thread; none allocates or blocks.
#pragma once

#include <atomic>
#include <cstdint>

#include "agent/segment_writer.hpp"
#include "agent/thread_context.hpp"

namespace asynctrace::agent {

// The private half: what the program's behaviour may depend on, and what a forked child needs although its
// parent goes on writing the other half. `id` guards against a slot that was reused: 0 while free.
struct TaskEntry {
  std::atomic<uint64_t> id;
  std::atomic<uint64_t> header;
  uint64_t poll_ended;  // the last one
  uint32_t polls;
  uint32_t inexact_leaves;  // chain of leaves without an exact end, by LeafEntry::next; kNone: none
  uint16_t poller;
  segment::TaskKind kind;
  std::atomic<bool> woken;            // since its last poll; not of Rust tasks with a known header
  std::atomic<uint32_t> lost_leaf;    // its leaf with kWakerGone, by number + 1; 0: none
  std::atomic<uint32_t> live_leaves;  // not kTask: those with an exact end; kEnding: a kWaker that ends
  uint32_t native;                    // its slot in kNativeTasks, kNone
};
static_assert(sizeof(TaskEntry) == 48);

inline constexpr uint32_t kEnding = UINT32_MAX;

bool start_tasks();
TaskEntry& task_entry(uint32_t slot);
segment::Task& task_record(uint32_t slot);

uint32_t find_task(uint64_t header);

// Makes a record. kNone: no room (counted). For kTask only inside its poll.
uint32_t add_task(const HookGuard& guard, segment::TaskKind kind, uint64_t address, uint16_t poller);

// Ends a task: frees its inexact leaves and its slot. Does nothing if it has ended already: the end of one
// task may be seen by two threads.
void end_task(const HookGuard& guard, uint32_t slot, uint64_t id);

// Ends those that `poller_is_gone` names. One thread at a time.
void end_tasks_of(const HookGuard& guard, bool (*poller_is_gone)(uint16_t poller));

// Tracing begins again: ends the tasks that may have been polled or have ended unseen, all but those that
// run. Before the slots of their tables are patched.
void end_unwatched_tasks(const HookGuard& guard);

// It waits for its first poll.
void mark_created(uint32_t slot);

// It has begun to wait outside its polls, or anew.
void mark_waiting(uint32_t slot, uint64_t ticks);

// Of a kWatcher, whose address may become known only after it was made.
void set_task_address(uint32_t slot, uint64_t address);

// A poll begins; returns its number.
uint32_t begin_task_poll(uint32_t slot, uint64_t ticks, uint32_t tid);

// The poll that began at `began` is over, and left the task in `state`. Nothing happens if another thread has
// changed the state since: a task can be woken and polled again before its last poll has returned.
void end_task_poll(uint32_t slot, uint64_t began, uint64_t ticks, segment::TaskState state);

// A waker was woken, or the runtime scheduled the task: waiting becomes scheduled.
void mark_woken(uint32_t slot, uint64_t id);

void publish_references(uint32_t slot, segment::References references);

// Another task was polled inside a poll of this one.
void mark_nesting(uint32_t slot);

// The pseudo task for futures that this thread polls itself, made at first need; its slot, or kNone. Begins a
// new poll if it was woken since the last leaf.
uint32_t block_on_task(const HookGuard& guard, uint64_t ticks);

// Whether that task has a leaf, so that a waker made on this thread may be one of its children's.
bool block_on_waits(const ThreadContext& context);

// The task that the wakers with this data and table wake, made at first need; its slot, or kNone. Begins a
// new poll if it was woken since the last leaf. Counts a leaf, to be begun next or taken back with
// leave_task().
uint32_t waker_task(const HookGuard& guard, uint64_t data, uint16_t table, uint64_t ticks);

// A leaf of a task that is not kTask is gone. The end of a kWaker task, if it was the last.
void leave_task(const HookGuard& guard, uint32_t slot, uint64_t id);

// The context of a thread that is gone goes to another one: ends its pseudo task.
void end_block_on_task(const HookGuard& guard);

// Fills the segment of a forked child. `parents`: the records of its parent, which still writes them.
void republish_tasks(const segment::Task* parents);

}  // namespace asynctrace::agent
