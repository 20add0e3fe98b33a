#include "agent/leaves.hpp"

#include "agent/platform.hpp"

namespace asynctrace::agent {

using namespace segment;

namespace {

// A leaf without an exact end stays until it is renewed; this many of one task are kept.
constexpr int kMaxInexactLeaves = 8;

LeafEntry* g_entries = nullptr;

// A leaf without an exact end has no waker, nor has one that was met; there the word chains leaves.
uint32_t next_in_chain(const LeafEntry& entry) {
  return static_cast<uint32_t>(entry.waker_data);
}
IndexPool g_pool;

Leaf& record(uint32_t leaf) {
  return g_segment.items<Leaf>(kLeaves)[leaf];
}

template <typename T>
void put(T& field, T value) {
  std::atomic_ref<T>(field).store(value, std::memory_order_relaxed);
}
template <typename T>
T get(const T& field) {
  return std::atomic_ref<T>(const_cast<T&>(field)).load(std::memory_order_relaxed);
}

// Seqlock; the other half is SegmentReader::leaf(). `facts.seq` does not count.
void publish(uint32_t leaf, const Leaf& facts) {
  Leaf& item = record(leaf);
  std::atomic_ref<uint32_t> seq(item.seq);
  const uint32_t generation = (seq.load(std::memory_order_relaxed) & ~3u) + 4;
  seq.store(generation | kLeafWriting, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  put(item.flags, facts.flags);
  put(item.task, facts.task);
  put(item.stack, facts.stack);
  put(item.poll, facts.poll);
  put(item.registered, facts.registered);
  put(item.since, facts.since);
  put(item.joins, facts.joins);
  g_entries[leaf].seq = generation | kLeafLive;
  seq.store(generation | kLeafLive, std::memory_order_release);
}

void unpublish(uint32_t leaf) {
  std::atomic_ref<uint32_t> seq(record(leaf).seq);
  seq.store((seq.load(std::memory_order_relaxed) & ~3u) | kLeafFree, std::memory_order_release);
}

Leaf copy_of(const Leaf& item) {
  return {get(item.seq),  get(item.flags),      get(item.task),  get(item.stack),
          get(item.poll), get(item.registered), get(item.since), get(item.joins)};
}

// Gives a leaf that was just begun the waiting time of the one it renews. The new leaf may already have ended
// on another thread and its record belong to someone else, so the time is exchanged only against its own.
void inherit_since(const RecentLeaf& begun, uint64_t since) {
  uint64_t own = begun.since;
  std::atomic_ref<uint64_t>(record(begun.leaf).since)
      .compare_exchange_strong(own, since, std::memory_order_relaxed);
}

// A leaf that is dropped in a later poll of its task than it was begun in: whatever renews it keeps its time.
void hand_on_since(ThreadContext& context, uint32_t leaf) {
  const LeafEntry& entry = g_entries[leaf];
  const Frame& frame = *context.frame;
  const Leaf& item = record(leaf);
  const uint32_t poll = get(item.poll);
  if (poll == frame.poll) return;
  const uint32_t stack = get(item.stack);
  uint64_t since = get(item.since);
  // One that was begun in the poll before has waited since the end of that poll.
  const bool first_wait = since == get(item.registered) && poll + 1 == frame.poll;
  if (first_wait && (entry.flags & kOwnWaker) != 0) since = task_entry(entry.task).poll_ended;
  const RecentLeaf& begun = context.begun;
  if (begun.task_id == entry.task_id && begun.stack == stack && begun.poll == frame.poll)
    inherit_since(begun, since);
  else context.ended = {entry.task_id, since, leaf, stack, frame.poll};
}

// Both halves, but for what a waker adds.
void fill(uint32_t leaf, const ThreadContext& context, const LeafOwner& owner, uint32_t stack, uint64_t since,
          uint32_t flags, uint32_t wakers) {
  LeafEntry& entry = g_entries[leaf];
  entry.task_id = owner.task_id;
  entry.task = owner.task;
  entry.flags = flags;
  entry.counted = owner.counted;
  entry.woken.store(false, std::memory_order_relaxed);
  entry.wakers.store(wakers, std::memory_order_relaxed);
  publish(leaf, {.seq = 0,
                 .flags = flags | uint32_t{owner.label} << kLeafLabelShift,
                 .task = owner.task_id,
                 .stack = stack,
                 .poll = owner.poll,
                 .registered = owner.registered,
                 .since = since,
                 .joins = owner.joins != 0 ? owner.joins : context.joining});
}

uint32_t own_flag(const LeafOwner& owner) {
  return owner.own_waker ? kOwnWaker : 0u;
}

void replace_lost_leaf(const HookGuard& guard, TaskEntry& task, uint32_t by) {
  const uint32_t before = task.lost_leaf.exchange(by, std::memory_order_acq_rel);
  if (before == 0) return;
  unpublish(before - 1);
  g_entries[before - 1].flags = 0;
  g_pool.give(guard.context().leaves, before - 1);
}

void end_chain(const HookGuard& guard, uint32_t leaf) {
  while (leaf != kNone) {
    const uint32_t next = next_in_chain(g_entries[leaf]);
    unpublish(leaf);
    g_entries[leaf].flags = 0;
    g_pool.give(guard.context().leaves, leaf);
    leaf = next;
  }
}

uint32_t take(const HookGuard& guard) {
  const uint32_t leaf = g_pool.take(guard.context().leaves);
  if (leaf == kNone) g_segment.count_loss(kLostLeaves);
  return leaf;
}

}  // namespace

bool start_leaves() {
  g_entries = reserve_array<LeafEntry>(g_segment.capacity(kLeaves));
  return g_entries != nullptr && g_pool.start(g_segment, kLeaves);
}

LeafEntry& leaf_entry(uint32_t leaf) {
  return g_entries[leaf];
}
uint32_t leaf_number(const LeafEntry& entry) {
  return static_cast<uint32_t>(&entry - g_entries);
}

Leaf leaf_record(uint32_t leaf) {
  return copy_of(record(leaf));
}

uint32_t begin_leaf(const HookGuard& guard, const LeafOwner& owner, uint32_t stack) {
  const uint32_t leaf = take(guard);
  if (leaf == kNone) return kNone;
  ThreadContext& context = guard.context();
  const RecentLeaf& ended = context.ended;
  const bool renews = ended.task_id == owner.task_id && ended.stack == stack && ended.poll == owner.poll;
  const uint64_t since = renews ? ended.since : owner.since;
  context.begun = {owner.task_id, since, leaf, stack, owner.poll};
  context.ended.task_id = 0;
  fill(leaf, context, owner, stack, since, own_flag(owner), 1);
  return leaf;
}

void end_leaf(const HookGuard& guard, uint32_t leaf, bool dropped) {
  LeafEntry& entry = g_entries[leaf];
  unpublish(leaf);
  if (!guard) {
    entry.wakers.store(0, std::memory_order_relaxed);
    g_pool.give_shared(leaf);
    return;
  }
  ThreadContext& context = guard.context();
  const Frame* frame = context.frame;
  const bool waited_on = dropped && !entry.woken.load(std::memory_order_relaxed);
  if (waited_on && frame != nullptr && frame->task_id == entry.task_id) hand_on_since(context, leaf);
  entry.wakers.store(0, std::memory_order_relaxed);
  g_pool.give(context.leaves, leaf);
}

__attribute__((noinline)) void renew_inexact_leaf(const HookGuard& guard, const LeafOwner& owner,
                                                  uint32_t stack) {
  TaskEntry& task = task_entry(owner.task);
  int count = 0;
  uint32_t last = kNone;
  uint32_t leaf = task.inexact_leaves;
  while (leaf != kNone && get(record(leaf).stack) != stack && count < kMaxInexactLeaves) {
    last = leaf;
    leaf = next_in_chain(g_entries[leaf]);
    count++;
  }
  if (count == kMaxInexactLeaves) leaf = last;  // the oldest makes room
  const bool renewed = leaf != kNone && get(record(leaf).stack) == stack;
  if (leaf == kNone) {
    leaf = take(guard);
    if (leaf == kNone) return;
    g_entries[leaf].waker_data = task.inexact_leaves;
    task.inexact_leaves = leaf;
  }
  const uint64_t since = renewed ? get(record(leaf).since) : owner.since;
  fill(leaf, guard.context(), owner, stack, since, own_flag(owner) | kNoExactEnd, 0);
}

void end_inexact_leaves(const HookGuard& guard, TaskEntry& task) {
  end_chain(guard, task.inexact_leaves);
  task.inexact_leaves = kNone;
}

uint32_t add_met_leaf(const HookGuard& guard, const LeafOwner& owner, uint32_t stack, uint32_t next) {
  const uint32_t leaf = take(guard);
  if (leaf == kNone) return next;
  g_entries[leaf].waker_data = next;
  fill(leaf, guard.context(), owner, stack, owner.since, kMet, 0);
  return leaf;
}

void end_met_leaves(const HookGuard& guard, uint32_t first) {
  end_chain(guard, first);
}

void end_lost_leaf(const HookGuard& guard, TaskEntry& task) {
  replace_lost_leaf(guard, task, 0);
}

void keep_lost_leaf(const HookGuard& guard, const LeafOwner& owner, uint32_t stack) {
  const uint32_t leaf = take(guard);
  if (leaf == kNone) return;
  fill(leaf, guard.context(), owner, stack, owner.since, own_flag(owner) | kWakerGone, 0);
  replace_lost_leaf(guard, task_entry(owner.task), leaf + 1);
}

void republish_leaves(const Leaf* parents) {
  const uint32_t used = g_segment.used(kLeaves);
  for (uint32_t leaf = 0; leaf < used; leaf++) {
    const LeafEntry& entry = g_entries[leaf];
    const bool live =
        entry.wakers.load(std::memory_order_relaxed) != 0 || (entry.flags & (kNoExactEnd | kWakerGone)) != 0;
    if (!live) continue;
    const uint32_t seq =
        std::atomic_ref<uint32_t>(const_cast<uint32_t&>(parents[leaf].seq)).load(std::memory_order_acquire);
    const Leaf facts = copy_of(parents[leaf]);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (seq == entry.seq && get(parents[leaf].seq) == seq) publish(leaf, facts);
    else g_segment.count_loss(kLostAtFork);
  }
}

}  // namespace asynctrace::agent
