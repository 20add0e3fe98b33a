#include "agent/tasks.hpp"

#include "agent/clock.hpp"
#include "agent/leaves.hpp"
#include "agent/native/native_tasks.hpp"
#include "agent/platform.hpp"
#include "agent/task_table.hpp"

namespace asynctrace::agent {

using segment::TaskKind;
using segment::TaskState;

namespace {

TaskEntry* g_entries = nullptr;
IndexPool g_pool;
TaskTable g_table;

// Key of a kWaker task in the table: never that of a task's header, nor one of the table's own marks.
constexpr uint64_t kWakerKey = uint64_t{1} << 63;
constexpr uint32_t kDataBits = 48;
constexpr uint64_t kDataMask = (uint64_t{1} << kDataBits) - 1;

constexpr uint64_t pack(uint64_t ticks, TaskState state) {
  return ticks << 2 | static_cast<uint64_t>(state);
}
constexpr TaskState state_of(uint64_t word) {
  return static_cast<TaskState>(word & 3);
}

std::atomic_ref<uint64_t> state_word(uint32_t slot) {
  return std::atomic_ref<uint64_t>(task_record(slot).state);
}

// A thread knows its own pseudo task, and watchers have a table of their own.
bool is_found_by_address(TaskKind kind) {
  return kind == TaskKind::kTask || kind == TaskKind::kWaker;
}

uint64_t next_task_id() {
  return std::atomic_ref<uint64_t>(g_segment.header().next_task_id).fetch_add(1, std::memory_order_relaxed);
}

void publish(uint32_t slot, uint64_t id, uint64_t created, uint64_t state) {
  const TaskEntry& entry = g_entries[slot];
  const uint64_t header = entry.header.load(std::memory_order_relaxed);
  segment::Task& task = task_record(slot);
  // Nobody may see a new field beside the old id; the other half is SegmentReader::task().
  std::atomic_thread_fence(std::memory_order_release);
  task.address = entry.kind == TaskKind::kWaker ? header & kDataMask : header;
  task.created = created;
  task.busy = task.max_poll = 0;
  task.polls = entry.polls;
  task.wakes = task.last_tid = 0;
  task.poller = entry.poller;
  task.kind_and_flags = static_cast<uint8_t>(static_cast<uint8_t>(entry.kind) << 4);
  task.references = segment::References::kUnknown;
  state_word(slot).store(state, std::memory_order_relaxed);
  std::atomic_ref<uint64_t>(task.id).store(id, std::memory_order_release);
}

// A statistic of one writer at a time, but for the cases that segment::Task tells of.
template <typename T>
void raise(T& counter, T by) {
  std::atomic_ref<T> value(counter);
  value.store(value.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

}  // namespace

namespace {

bool is_at(uint32_t slot, uint64_t header) {
  return g_entries[slot].header.load(std::memory_order_relaxed) == header;
}

}  // namespace

bool start_tasks() {
  g_entries = reserve_array<TaskEntry>(g_segment.capacity(segment::kTasks));
  return g_entries != nullptr && g_pool.start(g_segment, segment::kTasks) && g_table.start();
}

TaskEntry& task_entry(uint32_t slot) {
  return g_entries[slot];
}
segment::Task& task_record(uint32_t slot) {
  return g_segment.items<segment::Task>(segment::kTasks)[slot];
}

uint32_t find_task(uint64_t header) {
  return g_table.find(header, [&](uint32_t slot) { return is_at(slot, header); });
}

uint32_t add_task(const HookGuard& guard, TaskKind kind, uint64_t address, uint16_t poller) {
  const uint32_t slot = g_pool.take(guard.context().tasks);
  if (slot == kNone) {
    g_segment.count_loss(segment::kLostTasks);
    return kNone;
  }
  TaskEntry& entry = g_entries[slot];
  const uint64_t id = next_task_id();
  const uint64_t created = now();
  entry.header.store(address, std::memory_order_relaxed);
  entry.poll_ended = created;
  entry.polls = 0;
  entry.inexact_leaves = kNone;
  entry.poller = poller;
  entry.kind = kind;
  entry.woken.store(true, std::memory_order_relaxed);
  // A late look at the slot's last owner must not count: see join_waker_task().
  const uint32_t leaves = kind == TaskKind::kWaker ? 1 : kind == TaskKind::kBlockOn ? 0 : kEnding;
  entry.live_leaves.store(leaves, std::memory_order_release);
  entry.native = kNone;
  entry.id.store(id, std::memory_order_release);
  publish(slot, id, created, pack(created, TaskState::kNone));
  if (is_found_by_address(kind) && !g_table.insert(address, slot)) {
    end_task(guard, slot, id);
    g_segment.count_loss(segment::kLostTasks);
    return kNone;
  }
  return slot;
}

void end_task(const HookGuard& guard, uint32_t slot, uint64_t id) {
  TaskEntry& entry = g_entries[slot];
  if (!entry.id.compare_exchange_strong(id, 0, std::memory_order_acq_rel)) return;
  std::atomic_ref<uint64_t>(task_record(slot).id).store(0, std::memory_order_release);
  if (is_found_by_address(entry.kind)) g_table.erase(entry.header.load(std::memory_order_relaxed), slot);
  end_inexact_leaves(guard, entry);
  if (entry.native != kNone) end_native_task(guard, entry.native);
  end_lost_leaf(guard, entry);
  g_pool.give(guard.context().tasks, slot);
}

void end_tasks_of(const HookGuard& guard, bool (*poller_is_gone)(uint16_t poller)) {
  const uint32_t used = g_segment.used(segment::kTasks);
  for (uint32_t slot = 0; slot < used; slot++) {
    const TaskEntry& entry = g_entries[slot];
    const uint64_t id = entry.id.load(std::memory_order_acquire);
    if (id != 0 && entry.kind == TaskKind::kTask && poller_is_gone(entry.poller)) end_task(guard, slot, id);
  }
}

void end_unwatched_tasks(const HookGuard& guard) {
  const uint32_t used = g_segment.used(segment::kTasks);
  for (uint32_t slot = 0; slot < used; slot++) {
    const TaskEntry& entry = g_entries[slot];
    const uint64_t id = entry.id.load(std::memory_order_acquire);
    const bool running = state_of(state_word(slot).load(std::memory_order_acquire)) == TaskState::kRunning;
    if (id != 0 && entry.kind == TaskKind::kTask && !running) end_task(guard, slot, id);
  }
}

void mark_created(uint32_t slot) {
  state_word(slot).store(pack(task_record(slot).created, TaskState::kScheduled), std::memory_order_release);
}

void mark_waiting(uint32_t slot, uint64_t ticks) {
  uint64_t word = state_word(slot).load(std::memory_order_acquire);
  if (state_of(word) != TaskState::kRunning)
    state_word(slot).compare_exchange_strong(word, pack(ticks, TaskState::kWaiting),
                                             std::memory_order_acq_rel);
}

void set_task_address(uint32_t slot, uint64_t address) {
  g_entries[slot].header.store(address, std::memory_order_relaxed);
  std::atomic_ref<uint64_t>(task_record(slot).address).store(address, std::memory_order_relaxed);
}

uint32_t begin_task_poll(uint32_t slot, uint64_t ticks, uint32_t tid) {
  segment::Task& task = task_record(slot);
  const uint32_t poll = ++g_entries[slot].polls;
  state_word(slot).store(pack(ticks, TaskState::kRunning), std::memory_order_release);
  std::atomic_ref<uint32_t>(task.polls).store(poll, std::memory_order_release);
  std::atomic_ref<uint32_t>(task.last_tid).store(tid, std::memory_order_relaxed);
  return poll;
}

void end_task_poll(uint32_t slot, uint64_t began, uint64_t ticks, TaskState state) {
  segment::Task& task = task_record(slot);
  raise(task.busy, ticks - began);
  std::atomic_ref<uint64_t> max_poll(task.max_poll);
  if (ticks - began > max_poll.load(std::memory_order_relaxed))
    max_poll.store(ticks - began, std::memory_order_relaxed);
  g_entries[slot].poll_ended = ticks;
  uint64_t running = pack(began, TaskState::kRunning);
  state_word(slot).compare_exchange_strong(running, pack(ticks, state), std::memory_order_release);
}

void mark_woken(uint32_t slot, uint64_t id) {
  TaskEntry& entry = g_entries[slot];
  uint64_t word = state_word(slot).load(std::memory_order_acquire);
  if (entry.id.load(std::memory_order_acquire) != id) return;
  if (entry.kind != TaskKind::kTask) entry.woken.store(true, std::memory_order_release);
  if (state_of(word) != TaskState::kWaiting) return;
  // The word holds a time, so it cannot come from another task that has the slot by now.
  if (state_word(slot).compare_exchange_strong(word, pack(now(), TaskState::kScheduled),
                                               std::memory_order_acq_rel))
    raise(task_record(slot).wakes, 1u);
}

void publish_references(uint32_t slot, segment::References references) {
  std::atomic_ref<segment::References>(task_record(slot).references)
      .store(references, std::memory_order_relaxed);
}

void mark_nesting(uint32_t slot) {
  std::atomic_ref<uint8_t> flags(task_record(slot).kind_and_flags);
  const uint8_t seen = flags.load(std::memory_order_relaxed);
  if ((seen & segment::kNestsPolls) == 0) flags.store(seen | segment::kNestsPolls, std::memory_order_relaxed);
}

namespace {

// Polls that are not seen: a task that was woken has been polled by the time it has a new leaf.
void begin_poll_if_woken(uint32_t slot, uint64_t ticks, uint32_t tid) {
  if (!g_entries[slot].woken.exchange(false, std::memory_order_acq_rel)) return;
  begin_task_poll(slot, ticks, tid);
  // Nor is their end: with its first leaf it counts as waiting.
  state_word(slot).store(pack(ticks, TaskState::kWaiting), std::memory_order_release);
}

// False: it has ended meanwhile.
bool join_waker_task(const HookGuard& guard, uint32_t slot, uint64_t key) {
  TaskEntry& entry = g_entries[slot];
  uint32_t leaves = entry.live_leaves.load(std::memory_order_acquire);
  do {
    if (leaves == kEnding) return false;
  } while (!entry.live_leaves.compare_exchange_weak(leaves, leaves + 1, std::memory_order_acq_rel));
  // From here on the slot stays with its task, whichever that is.
  if (is_at(slot, key)) return true;
  leave_task(guard, slot, entry.id.load(std::memory_order_acquire));
  return false;
}

}  // namespace

uint32_t block_on_task(const HookGuard& guard, uint64_t ticks) {
  ThreadContext& context = guard.context();
  if (context.block_on_task == kNone) {
    context.block_on_task = add_task(guard, TaskKind::kBlockOn, context.tid, segment::kNoPoller);
    if (context.block_on_task == kNone) return kNone;
    context.block_on_id = g_entries[context.block_on_task].id.load(std::memory_order_relaxed);
  }
  begin_poll_if_woken(context.block_on_task, ticks, context.tid);
  g_entries[context.block_on_task].live_leaves.fetch_add(1, std::memory_order_relaxed);
  return context.block_on_task;
}

bool block_on_waits(const ThreadContext& context) {
  if (context.block_on_task == kNone) return false;
  const TaskEntry& entry = g_entries[context.block_on_task];
  return entry.live_leaves.load(std::memory_order_relaxed) != 0 || entry.inexact_leaves != kNone;
}

uint32_t waker_task(const HookGuard& guard, uint64_t data, uint16_t table, uint64_t ticks) {
  if (data > kDataMask || table >= 1u << (63 - kDataBits)) return kNone;
  const uint64_t key = kWakerKey | uint64_t{table} << kDataBits | data;
  uint32_t slot = find_task(key);
  if (slot == kNone || !join_waker_task(guard, slot, key))
    slot = add_task(guard, TaskKind::kWaker, key, segment::kNoPoller);
  if (slot != kNone) begin_poll_if_woken(slot, ticks, guard.context().tid);
  return slot;
}

void leave_task(const HookGuard& guard, uint32_t slot, uint64_t id) {
  TaskEntry& entry = g_entries[slot];
  if (entry.id.load(std::memory_order_acquire) != id) return;  // its thread is gone
  if (entry.live_leaves.fetch_sub(1, std::memory_order_acq_rel) != 1 || entry.kind != TaskKind::kWaker)
    return;
  // In a signal handler it is left as it is, and taken up again by the next leaf.
  uint32_t none = 0;
  if (guard && entry.live_leaves.compare_exchange_strong(none, kEnding, std::memory_order_acq_rel))
    end_task(guard, slot, id);
}

void end_block_on_task(const HookGuard& guard) {
  ThreadContext& context = guard.context();
  if (context.block_on_task != kNone) end_task(guard, context.block_on_task, context.block_on_id);
  context.block_on_task = kNone;
}

namespace {

// When it was made, or, where the parent has used the slot for another one since, when this process came to
// know it.
uint64_t created_of(const segment::Task& parents, uint64_t id) {
  const uint64_t created =
      std::atomic_ref(const_cast<uint64_t&>(parents.created)).load(std::memory_order_acquire);
  const bool is_it = std::atomic_ref(const_cast<uint64_t&>(parents.id)).load(std::memory_order_acquire) == id;
  return is_it ? created : now();
}

}  // namespace

void republish_tasks(const segment::Task* parents) {
  const uint32_t used = g_segment.used(segment::kTasks);
  uint64_t last_id = 0;
  for (uint32_t slot = 0; slot < used; slot++) {
    TaskEntry& entry = g_entries[slot];
    const uint64_t id = entry.id.load(std::memory_order_relaxed);
    if (id == 0) continue;
    if (id > last_id) last_id = id;
    // Polls on other threads ended with those threads; the forking thread's own are set by its frames.
    publish(slot, id, created_of(parents[slot], id), pack(now(), TaskState::kWaiting));
  }
  g_segment.header().next_task_id = last_id + 1;
}

}  // namespace asynctrace::agent
