// Events of the native API: they fill the same records as the hooks of unmodified runtimes do.
#include "agent/native/event_hooks.hpp"

#include "agent/capture/capture.hpp"
#include "agent/clock.hpp"
#include "agent/leaves.hpp"
#include "agent/native/labels.hpp"
#include "agent/native/native_stack.hpp"
#include "agent/native/native_tasks.hpp"
#include "agent/platform.hpp"
#include "agent/polls.hpp"
#include "agent/tasks.hpp"

namespace asynctrace::agent {
namespace {

uint64_t address_of(const void* pointer) {
  return reinterpret_cast<uint64_t>(pointer);
}

void finish(const HookGuard& guard, uint32_t slot) {
  end_task(guard, slot, task_entry(slot).id.load(std::memory_order_acquire));
}

void task_created(const void* task, const char* runtime, const char* name, const void* spawn_site) {
  const ErrnoKeeper errno_keeper;
  const HookGuard guard(current_thread());
  if (!guard || task == nullptr) return;
  // A runtime that forgot to tell of an end.
  if (const uint32_t old = find_task(address_of(task)); old != kNone) finish(guard, old);
  const uint32_t slot = add_task(guard, segment::TaskKind::kTask, address_of(task), segment::kNoPoller);
  if (slot == kNone) return;
  TaskEntry& entry = task_entry(slot);
  const uint64_t id = entry.id.load(std::memory_order_relaxed);
  entry.native = add_native_task(guard, id, {runtime, name, address_of(spawn_site)});
  mark_created(slot);
}

void task_finished(const void* task) {
  const HookGuard guard(current_thread());
  if (!guard) return;
  if (const uint32_t slot = find_task(address_of(task)); slot != kNone) finish(guard, slot);
}

void task_woken(const void* task) {
  const HookGuard guard(current_thread());
  if (!guard) return;
  const uint32_t slot = find_task(address_of(task));
  if (slot == kNone) return;
  TaskEntry& entry = task_entry(slot);
  const Frame* frame = guard.context().frame;
  entry.woken.store(true, std::memory_order_release);
  if (entry.native != kNone) note_waker(entry.native, frame != nullptr ? frame->task_id : 0);
  mark_woken(slot, entry.id.load(std::memory_order_acquire));
}

// Compiled with a frame pointer (see LeafSite).
uint64_t leaf_armed(const char* kind, uint32_t leaf_class, const void* awaited_task) {
  const ErrnoKeeper errno_keeper;
  const LeafSite site = LeafSite::of_hook(__builtin_frame_address(0));
  const HookGuard guard(current_thread());
  if (!guard) return 0;
  Frame* frame = guard.context().frame;
  if (frame == nullptr || frame->task == kNone) return 0;
  uint32_t stack_number = segment::kNoStack;
  if (const auto stack = native_stack(guard, site)) {
    // In the polling function itself there is nothing between leaf and root.
    const uint64_t leaf_alone[] = {site.return_address};
    const StackEntry* known =
        intern_stack(stack->pcs.empty() ? std::span<const uint64_t>(leaf_alone) : stack->pcs, stack->flags);
    if (known != nullptr) stack_number = known->number;
  }
  const uint64_t ticks = now();
  LeafOwner owner{frame->task, frame->task_id, frame->poll, false, frame->began + ++frame->leaves, ticks};
  owner.joins = address_of(awaited_task);
  owner.label = static_cast<uint16_t>(label_number(kind, leaf_class) + 1);
  const uint32_t leaf = begin_leaf(guard, owner, stack_number);
  return leaf != kNone ? uint64_t{leaf} + 1 : 0;
}

void leaf_ended(uint64_t token) {
  if (token == 0 || token > g_segment.capacity(segment::kLeaves)) return;
  const ErrnoKeeper errno_keeper;
  ThreadContext* context = current_thread();
  if (context == nullptr) return;
  const auto leaf = static_cast<uint32_t>(token - 1);
  // Told twice, it might by now be someone else's record.
  if (leaf_entry(leaf).wakers.exchange(0, std::memory_order_acq_rel) == 0) return;
  end_leaf(HookGuard(context), leaf, false);
}

}  // namespace

void begin_native_poll(asynctrace_frame* boundary) {
  boundary->reserved = 0;
  const HookGuard guard(current_thread());
  if (!guard) return;
  const uint64_t header = address_of(boundary->subject);
  if (const uint32_t slot = find_task(header); slot != kNone)
    task_entry(slot).woken.store(false, std::memory_order_relaxed);
  boundary->reserved =
      push_poll(guard, header, segment::kNoPoller, reinterpret_cast<uintptr_t>(boundary)) != nullptr;
}

void end_native_poll(asynctrace_frame* boundary) {
  if (boundary->reserved == 0) return;
  const HookGuard guard(current_thread());
  if (!guard) return;
  const auto root = reinterpret_cast<uintptr_t>(boundary);
  drop_dead_frames(guard, root);
  const Frame* frame = guard.context().frame;
  if (frame == nullptr || frame->root != root) return;
  pop_poll(guard);
  if (frame->task != kNone && task_entry(frame->task).id.load(std::memory_order_acquire) == frame->task_id) {
    TaskEntry& entry = task_entry(frame->task);
    end_task_poll(frame->task, frame->began, now(), segment::TaskState::kWaiting);
    // Woken during the poll, by whichever thread; a wake from here on finds it waiting.
    if (entry.woken.load(std::memory_order_acquire)) mark_woken(frame->task, frame->task_id);
  }
  g_segment.reserve_ahead(segment::kLeaves);
  g_segment.reserve_ahead(segment::kTasks);
  g_segment.reserve_ahead(segment::kNativeTasks);
}

const asynctrace_hooks kNativeHooks = {
    .version = 3,
    .task_created = task_created,
    .task_finished = task_finished,
    .task_woken = task_woken,
    .enter = native_enter,
    .leave = native_leave,
    .leaf_armed = leaf_armed,
    .leaf_ended = leaf_ended,
    .trace_leaf = native_trace_leaf,
    .is_tracing = native_is_tracing,
    .trace_enter = native_trace_enter,
    .trace_leave = native_trace_leave,
    .active_frame = native_active_frame,
    .backtrace = native_backtrace,
    .symbol = native_symbol,
    .repoll_open = native_repoll_open,
    .repoll_close = native_repoll_close,
    .repoll_due = native_repoll_due,
    .repoll_begin = native_repoll_begin,
    .repoll_leaf = native_repoll_leaf,
    .repoll_end = native_repoll_end,
    .operation_begun = native_operation_begun,
    .operation_ended = native_operation_ended,
};

}  // namespace asynctrace::agent
