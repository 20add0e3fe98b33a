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

// Seqlock; the other half is SegmentReader::leaf().
void publish(uint32_t leaf) {
  const LeafEntry& entry = g_entries[leaf];
  Leaf& item = record(leaf);
  std::atomic_ref<uint32_t> seq(item.seq);
  const uint32_t generation = (seq.load(std::memory_order_relaxed) & ~3u) + 4;
  seq.store(generation | kLeafWriting, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  const uint32_t flags = entry.flags | uint32_t{entry.label} << kLeafLabelShift;
  std::atomic_ref<uint32_t>(item.flags).store(flags, std::memory_order_relaxed);
  std::atomic_ref<uint64_t>(item.task).store(entry.task_id, std::memory_order_relaxed);
  std::atomic_ref<uint32_t>(item.stack).store(entry.stack, std::memory_order_relaxed);
  std::atomic_ref<uint32_t>(item.poll).store(entry.poll, std::memory_order_relaxed);
  std::atomic_ref<uint64_t>(item.registered).store(entry.registered, std::memory_order_relaxed);
  std::atomic_ref<uint64_t>(item.since).store(entry.since, std::memory_order_relaxed);
  std::atomic_ref<uint64_t>(item.joins).store(entry.joins, std::memory_order_relaxed);
  seq.store(generation | kLeafLive, std::memory_order_release);
}

void unpublish(uint32_t leaf) {
  std::atomic_ref<uint32_t> seq(record(leaf).seq);
  seq.store((seq.load(std::memory_order_relaxed) & ~3u) | kLeafFree, std::memory_order_release);
}

// Gives a leaf that was just begun the waiting time of the one it renews. The new leaf may already have ended
// on another thread and its record belong to someone else, so the time is exchanged only against its own.
void inherit_since(const RecentLeaf& begun, uint64_t since) {
  uint64_t own = begun.since;
  std::atomic_ref<uint64_t>(record(begun.leaf).since)
      .compare_exchange_strong(own, since, std::memory_order_relaxed);
  own = begun.since;
  std::atomic_ref<uint64_t>(g_entries[begun.leaf].since)
      .compare_exchange_strong(own, since, std::memory_order_relaxed);
}

void fill(LeafEntry& entry, const ThreadContext& context, const LeafOwner& owner, uint32_t stack) {
  entry.registered = owner.registered;
  entry.since = owner.since;
  entry.task_id = owner.task_id;
  entry.task = owner.task;
  entry.stack = stack;
  entry.poll = owner.poll;
  entry.flags = static_cast<uint8_t>(owner.own_waker ? kOwnWaker : 0u);
  entry.joins = owner.joins != 0 ? owner.joins : context.joining;
  entry.label = owner.label;
  entry.counted = owner.counted;
  entry.woken.store(false, std::memory_order_relaxed);
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

uint32_t begin_leaf(const HookGuard& guard, const LeafOwner& owner, uint32_t stack) {
  const uint32_t leaf = take(guard);
  if (leaf == kNone) return kNone;
  ThreadContext& context = guard.context();
  LeafEntry& entry = g_entries[leaf];
  fill(entry, guard.context(), owner, stack);
  const RecentLeaf& ended = context.ended;
  if (ended.task_id == owner.task_id && ended.stack == stack && ended.poll == owner.poll)
    entry.since = ended.since;
  entry.wakers.store(1, std::memory_order_relaxed);
  context.begun = {owner.task_id, entry.since, leaf, stack, owner.poll};
  context.ended.task_id = 0;
  publish(leaf);
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
  // One that was begun in the poll before has waited since the end of that poll.
  const bool first_wait =
      entry.since == entry.registered && frame != nullptr && entry.poll + 1 == frame->poll;
  const uint64_t since =
      first_wait && (entry.flags & kOwnWaker) != 0 ? task_entry(entry.task).poll_ended : entry.since;
  const bool waited_on = dropped && !entry.woken.load(std::memory_order_relaxed);
  if (waited_on && frame != nullptr && frame->task_id == entry.task_id && entry.poll != frame->poll) {
    const RecentLeaf& begun = context.begun;
    if (begun.task_id == entry.task_id && begun.stack == entry.stack && begun.poll == frame->poll)
      inherit_since(begun, since);
    else context.ended = {entry.task_id, since, leaf, entry.stack, frame->poll};
  }
  entry.wakers.store(0, std::memory_order_relaxed);
  g_pool.give(context.leaves, leaf);
}

void renew_inexact_leaf(const HookGuard& guard, const LeafOwner& owner, uint32_t stack) {
  TaskEntry& task = task_entry(owner.task);
  int count = 0;
  uint32_t last = kNone;
  uint32_t leaf = task.inexact_leaves;
  while (leaf != kNone && g_entries[leaf].stack != stack && count < kMaxInexactLeaves) {
    last = leaf;
    leaf = next_in_chain(g_entries[leaf]);
    count++;
  }
  if (count == kMaxInexactLeaves) leaf = last;  // the oldest makes room
  const bool renewed = leaf != kNone && g_entries[leaf].stack == stack;
  if (leaf == kNone) {
    leaf = take(guard);
    if (leaf == kNone) return;
    g_entries[leaf].waker_data = task.inexact_leaves;
    task.inexact_leaves = leaf;
  }
  LeafEntry& entry = g_entries[leaf];
  const uint64_t since = renewed ? entry.since : owner.since;
  fill(entry, guard.context(), owner, stack);
  entry.since = since;
  entry.flags |= kNoExactEnd;
  entry.wakers.store(0, std::memory_order_relaxed);
  publish(leaf);
}

void end_inexact_leaves(const HookGuard& guard, TaskEntry& task) {
  end_chain(guard, task.inexact_leaves);
  task.inexact_leaves = kNone;
}

uint32_t add_met_leaf(const HookGuard& guard, const LeafOwner& owner, uint32_t stack, uint32_t next) {
  const uint32_t leaf = take(guard);
  if (leaf == kNone) return next;
  LeafEntry& entry = g_entries[leaf];
  fill(entry, guard.context(), owner, stack);
  entry.flags = kMet;
  entry.waker_data = next;
  entry.wakers.store(0, std::memory_order_relaxed);
  publish(leaf);
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
  LeafEntry& entry = g_entries[leaf];
  fill(entry, guard.context(), owner, stack);
  entry.flags |= kWakerGone;
  entry.wakers.store(0, std::memory_order_relaxed);
  publish(leaf);
  replace_lost_leaf(guard, task_entry(owner.task), leaf + 1);
}

void republish_leaves() {
  const uint32_t used = g_segment.used(kLeaves);
  for (uint32_t leaf = 0; leaf < used; leaf++) {
    const LeafEntry& entry = g_entries[leaf];
    const bool live =
        entry.wakers.load(std::memory_order_relaxed) != 0 || (entry.flags & (kNoExactEnd | kWakerGone)) != 0;
    if (live) publish(leaf);
  }
}

}  // namespace asynctrace::agent
