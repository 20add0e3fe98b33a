// The slots of a runtime's task table: poll and shutdown bound a trace and tell a task's states, dealloc its
// end, schedule its wake-ups, try_read_output who joins whom. None of these functions is noexcept: panics may
// pass through them.
#include "agent/clock.hpp"
#include "agent/live.hpp"
#include "agent/loops/watchers.hpp"
#include "agent/polls.hpp"
#include "agent/rust/tables.hpp"
#include "agent/rust/task_header.hpp"
#include "agent/tasks.hpp"

namespace asynctrace::agent {
namespace {

using segment::TaskState;

// Null: nested too deeply to be recorded.
Frame* begin_poll(const HookGuard& guard, void* header, uint32_t poller, uintptr_t root) {
  Frame* frame = push_poll(guard, reinterpret_cast<uint64_t>(header), static_cast<uint16_t>(poller), root);
  if (frame != nullptr) frame->held = hold_task(g_tables.polls[poller], header, HeldTask::kScheduled);
  return frame;
}

// The poll has left nothing behind that could wake the task; where it last took a waker is known.
void note_lost_waker(const HookGuard& guard, const Frame& frame) {
  const RecentLeaf& last = guard.context().begun;
  if (last.task_id != frame.task_id || last.poll != frame.poll) return;
  const uint64_t registered = frame.began + frame.leaves;
  keep_lost_leaf(guard, {frame.task, frame.task_id, frame.poll, true, registered, registered}, last.stack);
}

void record_end(const HookGuard& guard, const Frame& frame) {
  if (frame.task == kNone) return;
  if (frame.last_of_watcher != kNone) return end_last_dispatch(guard, frame.last_of_watcher, frame.task_id);
  TaskState state = TaskState::kWaiting;
  if (frame.held != nullptr) {
    const TaskLayout& layout = layout_of(*frame.held);
    const uint64_t word = load_task_state(frame.header);
    if ((word & layout.ended) != 0) return end_task(guard, frame.task, frame.task_id);
    if ((word & layout.scheduled) != 0) state = TaskState::kScheduled;
    const segment::References references = other_references(layout, word, 1);
    publish_references(frame.task, references);
    if (references == segment::References::kNone && state == TaskState::kWaiting) [[unlikely]]
      note_lost_waker(guard, frame);
  } else if (task_entry(frame.task).id.load(std::memory_order_acquire) != frame.task_id) {
    return;  // a watcher that its own callback has freed
  }
  end_task_poll(frame.task, frame.began, now(), state);
}

// Ends the innermost poll. What it held is returned, to be let go of outside the guard: that may run the
// program's code.
WakerTable* end_poll(const HookGuard& guard) {
  const Frame& frame = *guard.context().frame;
  pop_poll(guard);
  record_end(guard, frame);
  return frame.held;
}

// Of a task that is idle or running, so only a layout that is known already will do. Null: none is, or the
// task has ended meanwhile.
const PollFunction* poll_function_of(uint32_t task, uint64_t id, uint64_t address) {
  const uint16_t poller = task_entry(task).poller;
  std::atomic_thread_fence(std::memory_order_acquire);
  const bool still_there =
      id != 0 && find_task(address) == task && task_entry(task).id.load(std::memory_order_relaxed) == id;
  if (!still_there || poller >= g_tables.poll_count) return nullptr;
  const PollFunction& poll = g_tables.polls[poller];
  const uint16_t table = poll.waker_table.load(std::memory_order_relaxed);
  return table != kNoTable && layout_is_known(g_tables.wakers[table]) ? &poll : nullptr;
}

}  // namespace

void abandon_polls(const HookGuard& guard, uintptr_t stack_pointer) {
  while (guard.context().frame != nullptr && guard.context().frame->root < stack_pointer) {
    void* header = reinterpret_cast<void*>(guard.context().frame->header);
    if (const WakerTable* held = end_poll(guard)) let_go_of_task(*held, header);
  }
}

}  // namespace asynctrace::agent

using namespace asynctrace;
using namespace asynctrace::agent;

Words asynctrace_poll_hook(void* header, uint32_t number) {
  const PollFunction& function = g_tables.polls[number];
  const auto root = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  bool begun = false;
  if (const HookGuard guard(current_thread()); guard)
    begun = begin_poll(guard, header, number, root) != nullptr;
  const Words result = function.original(header);
  if (!begun) return result;
  WakerTable* held = nullptr;
  if (const HookGuard guard(current_thread()); guard) {
    drop_dead_frames(guard, root);
    const Frame* frame = guard.context().frame;
    if (frame != nullptr && frame->root == root) held = end_poll(guard);
    g_segment.reserve_ahead(segment::kLeaves);
    g_segment.reserve_ahead(segment::kTasks);
  }
  if (held != nullptr) let_go_of_task(*held, header);
  return result;
}

// Cancels and completes the task, unless it runs on another thread at this moment, which then does that
// itself.
Words asynctrace_shutdown_hook(void* header, uint32_t number) {
  const auto original = g_tables.shutdowns[number].original;
  const auto address = reinterpret_cast<uint64_t>(header);
  const uint32_t task = current_thread() != nullptr ? find_task(address) : kNone;
  if (task == kNone) return original(header);
  const uint64_t id = task_entry(task).id.load(std::memory_order_acquire);
  const PollFunction* poll = poll_function_of(task, id, address);
  if (poll == nullptr) return original(header);
  const WakerTable* held = hold_task(*poll, header, HeldTask::kScheduled);
  const Words result = original(header);
  if ((load_task_state(address) & layout_of(*held).ended) != 0) {
    if (const HookGuard guard(current_thread()); guard) end_task(guard, task, id);
  }
  let_go_of_task(*held, header);
  return result;
}

void asynctrace_dealloc_hook(void* header, uint32_t number) {
  if (const HookGuard guard(current_thread()); guard) {
    const uint32_t task = find_task(reinterpret_cast<uint64_t>(header));
    if (task != kNone) end_task(guard, task, task_entry(task).id.load(std::memory_order_acquire));
  }
  g_tables.deallocs[number](header);
}

void asynctrace_schedule_hook(void* header, uint32_t number) {
  // A wrapped waker has said so already.
  if (const ThreadContext* context = current_thread();
      context != nullptr && context->waking != reinterpret_cast<uint64_t>(header)) {
    const uint32_t task = find_task(reinterpret_cast<uint64_t>(header));
    if (task != kNone) mark_woken(task, task_entry(task).id.load(std::memory_order_acquire));
  }
  g_tables.schedules[number](header);
}

void asynctrace_output_hook(void* header, void* output, void* waker, uint32_t number) {
  // Inside, the joiner's waker is cloned; whoever clones a waker in the meantime waits for this task.
  if (ThreadContext* context = current_thread()) {
    context->joining = reinterpret_cast<uint64_t>(header);
    context->joining_at = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
    g_tables.outputs[number](header, output, waker);
    context->joining = 0;
    return;
  }
  g_tables.outputs[number](header, output, waker);
}
