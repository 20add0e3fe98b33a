// Wrapped wakers. A waker cloned inside a poll is handed out with our own vtable and a pointer to its leaf
// record; its wake or drop ends that leaf, so the branches of a join! or select! come and go one by one. None
// of these functions is noexcept: panics may pass through them, and they hold nothing that would need
// unwinding while the program's own functions run.
#include "agent/capture/capture.hpp"
#include "agent/clock.hpp"
#include "agent/leaves.hpp"
#include "agent/live.hpp"
#include "agent/rust/self_wake.hpp"
#include "agent/rust/tables.hpp"
#include "agent/rust/task_header.hpp"

namespace asynctrace::agent {
namespace {

Words wrapped_clone(const void* data);
void wrapped_wake(const void* data);
void wrapped_wake_by_ref(const void* data);
void wrapped_drop(const void* data);

const WakerVtable kWrappedVtable = {wrapped_clone, wrapped_wake, wrapped_wake_by_ref, wrapped_drop};

LeafEntry& leaf_of(const void* data) {
  return *static_cast<LeafEntry*>(const_cast<void*>(data));
}

const WakerVtable& original_of(const LeafEntry& entry) {
  return g_tables.wakers[entry.table].original;
}

// The two words of a RawWaker come in no promised order: rustc 1.63 returns data first, 1.95 the vtable.
Words wrapped_words(const LeafEntry& entry) {
  const auto vtable = reinterpret_cast<uint64_t>(&kWrappedVtable);
  const auto data = reinterpret_cast<uint64_t>(&entry);
  return entry.vtable_first ? Words{vtable, data} : Words{data, vtable};
}

struct Cloned {
  uint64_t data;
  uint16_t table;
  bool vtable_first;
};

uint16_t table_at(uint64_t address) {
  for (uint32_t i = 0; i < g_tables.waker_count; i++)
    if (g_tables.wakers[i].address == address) return static_cast<uint16_t>(i);
  return kNoTable;
}

// Which of the two words is the vtable. kNoTable: neither is one that we know.
Cloned understand(Words words, uint16_t expected) {
  if (words.first == g_tables.wakers[expected].address) return {words.second, expected, true};
  if (words.second == g_tables.wakers[expected].address) return {words.first, expected, false};
  if (const uint16_t table = table_at(words.first); table != kNoTable) return {words.second, table, true};
  return {words.first, table_at(words.second), false};
}

// Outside any poll that is seen: a thread that polls a future itself, or a task of some other executor.
__attribute__((noinline)) bool find_unseen_owner(const HookGuard& guard, const Cloned& cloned,
                                                 LeafOwner& owner) {
  ThreadContext& context = guard.context();
  const uint64_t ticks = now();
  const bool of_block_on = g_tables.wakers[cloned.table].kind == WakerKind::kBlockOn;
  // A combinator inside a block_on has that one's waker cloned before it makes its own.
  if (of_block_on || block_on_waits(context)) {
    const uint32_t task = block_on_task(guard, ticks);
    if (task == kNone) return false;
    owner = {task, context.block_on_id, task_entry(task).polls, of_block_on, ticks, ticks, true};
    return true;
  }
  const uint32_t task = waker_task(guard, cloned.data, cloned.table, ticks);
  if (task == kNone) return g_segment.count_loss(segment::kForeignLeaves), false;
  context.waker_task_id = task_entry(task).id.load(std::memory_order_relaxed);
  owner = {task, context.waker_task_id, task_entry(task).polls, true, ticks, ticks, true};
  return true;
}

// Whose leaf a clone is. False: nobody's.
bool find_owner(const HookGuard& guard, const Cloned& cloned, LeafOwner& owner) {
  Frame* frame = guard.context().frame;
  const WakerKind kind = g_tables.wakers[cloned.table].kind;
  const bool task_waker = kind == WakerKind::kTask;
  if (task_waker) {
    // A task's waker that is cloned while another task runs is a notifier's copy.
    if (frame == nullptr || frame->header != cloned.data) return false;
    PollFunction& poll = g_tables.polls[frame->poller];
    if (poll.waker_table.load(std::memory_order_relaxed) == kNoTable) {
      poll.waker_table.store(cloned.table, std::memory_order_relaxed);
      // Else nobody would see it end in this poll.
      if (frame->held == nullptr)
        frame->held = hold_task(poll, reinterpret_cast<void*>(frame->header), HeldTask::kRunning);
    }
  }
  if (frame != nullptr) {
    // Reading the clock costs as much as all the rest. A task's own leaf does without: what counts is when
    // the poll ends. A combinator's is not renewed with every poll, so it needs its time.
    const uint64_t registered = frame->began + ++frame->leaves;
    owner = {frame->task, frame->task_id, frame->poll,
             task_waker,  registered,     task_waker ? registered : now()};
    return frame->task != kNone;
  }
  return find_unseen_owner(guard, cloned, owner);
}

// The leaf that the owner was found for does not begin.
void give_up(const HookGuard& guard, const LeafOwner& owner) {
  if (owner.counted) leave_task(guard, owner.task, owner.task_id);
}

// Records the leaf; the words to hand out are `words` themselves or their wrapping.
Words wrap(const HookGuard& guard, Words words, const Cloned& cloned, const LeafSite& site) {
  drop_dead_frames(guard, site.caller_sp);
  StackEntry* stack = capture(guard, site);
  LeafOwner owner;
  if (!find_owner(guard, cloned, owner)) return words;
  const uint32_t stack_number = stack != nullptr ? stack->number : segment::kNoStack;
  if (stack != nullptr && wants_original(guard, owner, *stack)) {
    // Without wakers of ours nothing would ever end a task that is known by them alone.
    if (task_entry(owner.task).kind == segment::TaskKind::kWaker)
      g_segment.count_loss(segment::kForeignLeaves);
    else renew_inexact_leaf(guard, owner, stack_number);
    give_up(guard, owner);
    return words;
  }
  const uint32_t leaf = begin_leaf(guard, owner, stack_number);
  if (leaf == kNone) return give_up(guard, owner), words;
  LeafEntry& entry = leaf_entry(leaf);
  entry.waker_data = cloned.data;
  entry.table = cloned.table;
  entry.vtable_first = cloned.vtable_first;
  return wrapped_words(entry);
}

struct Original {
  const WakerVtable* vtable;
  const void* data;
};

Original original(const LeafEntry& entry) {
  return {&original_of(entry), reinterpret_cast<const void*>(entry.waker_data)};
}

void note_wake(const HookGuard& guard, LeafEntry& entry) {
  if (guard) {
    drop_dead_frames(guard, reinterpret_cast<uintptr_t>(__builtin_frame_address(0)));
    note_self_wake(guard, entry);
    guard.context().waking = (entry.flags & segment::kOwnWaker) != 0 ? entry.waker_data : 0;
  }
  mark_woken(entry.task, entry.task_id);
}

// What the runtime schedules from here on was not woken by note_wake().
void forget_waking() {
  if (t_context != nullptr) t_context->waking = 0;
}

// Its last waker is gone. Not tracing any more: the record is not used again.
void release(const HookGuard& guard, bool tracing, LeafEntry& entry, bool dropped) {
  if (!tracing) return entry.wakers.store(0, std::memory_order_relaxed);
  const bool counted = entry.counted;
  const uint32_t task = entry.task;
  const uint64_t task_id = entry.task_id;
  end_leaf(guard, leaf_number(entry), dropped);
  if (counted) leave_task(guard, task, task_id);
}

bool is_last(const LeafEntry& entry) {
  return entry.wakers.load(std::memory_order_acquire) == 1;
}

Words wrapped_clone(const void* data) {
  LeafEntry& entry = leaf_of(data);
  entry.wakers.fetch_add(1, std::memory_order_relaxed);
  return wrapped_words(entry);
}

void wrapped_wake_by_ref(const void* data) {
  LeafEntry& entry = leaf_of(data);
  if (ThreadContext* context = current_thread()) {
    note_wake(HookGuard(context), entry);
    entry.woken.store(true, std::memory_order_relaxed);
  }
  const Original waker = original(entry);
  waker.vtable->wake_by_ref(waker.data);
  forget_waking();
}

// Nothing is left that could wake the task: remembers where its last waker was cloned.
__attribute__((noinline)) void release_lost(const HookGuard& guard, LeafEntry& entry) {
  const segment::Leaf leaf = leaf_record(leaf_number(entry));
  const LeafOwner owner{entry.task, entry.task_id, leaf.poll, true, leaf.registered, leaf.since};
  release(guard, true, entry, true);
  keep_lost_leaf(guard, owner, leaf.stack);
}

void wrapped_drop(const void* data) {
  LeafEntry& entry = leaf_of(data);
  if (!is_last(entry) && entry.wakers.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  const Original waker = original(entry);
  ThreadContext* context = current_thread();
  const bool is_lost =
      context != nullptr && (entry.flags & segment::kOwnWaker) != 0 && note_dropped_reference(entry);
  if (const HookGuard guard(context); is_lost && guard) release_lost(guard, entry);
  else release(guard, context != nullptr, entry, true);
  waker.vtable->drop(waker.data);
}

void wrapped_wake(const void* data) {
  LeafEntry& entry = leaf_of(data);
  if (!is_last(entry)) {
    // Others share the original waker: wake it while our share still keeps it alive.
    wrapped_wake_by_ref(data);
    wrapped_drop(data);
    return;
  }
  const Original waker = original(entry);
  ThreadContext* context = current_thread();
  if (const HookGuard guard(context); context != nullptr) {
    note_wake(guard, entry);
    release(guard, true, entry, false);
  } else {
    release(guard, false, entry, false);
  }
  waker.vtable->wake(waker.data);
  forget_waking();
}

}  // namespace
}  // namespace asynctrace::agent

using namespace asynctrace;
using namespace asynctrace::agent;

// Compiled with a frame pointer (see LeafSite).
Words asynctrace_clone_hook(const void* data, uint32_t number) {
  const LeafSite site = LeafSite::of_hook(__builtin_frame_address(0));
  WakerTable& table = g_tables.wakers[number];
  const Words words = table.original.clone(data);
  if (table.off.load(std::memory_order_relaxed)) return words;
  const HookGuard guard(current_thread());
  if (!guard) return words;
  const Cloned cloned = understand(words, static_cast<uint16_t>(number));
  if (cloned.table == kNoTable) {
    table.off.store(true, std::memory_order_relaxed);
    g_segment.count_loss(segment::kTablesOff);
    return words;
  }
  if (cloned.data == 0) return words;  // a waker of nothing: noop
  return wrap(guard, words, cloned, site);
}
