#include "agent/rust/self_wake.hpp"

#include "agent/clock.hpp"

namespace asynctrace::agent {
namespace {

// A task may wake itself for good reasons: it sends to its own channel, or a waker is woken while it is
// registered. Only many in a row, each this close to the one before, are a loop.
constexpr uint32_t kRunaway = 32;

void mark(StackEntry& stack) {
  if (!stack.self_waking.exchange(true, std::memory_order_relaxed))
    g_segment.count_loss(segment::kSelfWakingStacks);
}

void count(StackEntry& stack) {
  const uint64_t ticks = now();
  const uint64_t last = stack.last_self_wake.exchange(ticks, std::memory_order_relaxed);
  if (ticks - last > g_ticks_per_ms / 4) stack.self_wakes.store(0, std::memory_order_relaxed);
  if (stack.self_wakes.fetch_add(1, std::memory_order_relaxed) + 1 >= kRunaway) mark(stack);
}

}  // namespace

void note_self_wake(const HookGuard& guard, const LeafEntry& entry) {
  ThreadContext& context = guard.context();
  const Frame* frame = context.frame;
  const bool own_poll = frame != nullptr
                            ? frame->task_id == entry.task_id
                            : entry.task_id == context.block_on_id || entry.task_id == context.waker_task_id;
  if (!own_poll) return;
  const segment::Leaf leaf = leaf_record(leaf_number(entry));
  StackEntry* stack = stack_entry(leaf.stack);
  if (stack == nullptr || stack->self_waking.load(std::memory_order_relaxed)) return;
  // Replaced a moment ago (want).
  const RecentLeaf& begun = context.begun;
  if (begun.task_id == entry.task_id && begun.stack == leaf.stack && begun.leaf != leaf_number(entry) &&
      (frame == nullptr || begun.poll == frame->poll))
    return mark(*stack);
  // About to be replaced (async-io)? The polls of a block_on, or of an executor
  // that is not known, have no visible bounds, and its own
  // driver wakes it on the same thread: there only a loop counts.
  if (frame != nullptr && leaf.poll != frame->poll) {
    context.self_woken.task_id = entry.task_id;
    context.self_woken.stack = leaf.stack;
    context.self_woken.poll = frame->poll;
    return;
  }
  count(*stack);
}

bool wants_original(const HookGuard& guard, const LeafOwner& owner, StackEntry& stack) {
  const RecentLeaf& woken = guard.context().self_woken;
  if (woken.task_id == owner.task_id && woken.stack == stack.number && woken.poll == owner.poll) mark(stack);
  return stack.self_waking.load(std::memory_order_relaxed);
}

}  // namespace asynctrace::agent
