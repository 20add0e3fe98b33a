// The slots of a runtime's task table: poll and shutdown bound a trace and tell a task's states, dealloc its
// end, schedule its wake-ups, try_read_output who joins whom. None of these functions is noexcept: panics may
// pass through them.
#include "agent/clock.hpp"
#include "agent/live.hpp"
#include "agent/rust/tables.hpp"
#include "agent/rust/task_header.hpp"
#include "agent/tasks.hpp"

namespace asynctrace::agent {
namespace {

using segment::TaskState;

constexpr int8_t kLayoutKnown = 4;
constexpr int8_t kLayoutRefuted = -8;

// One sample: taking a reference must add one to the count of a task that is notified and neither running nor
// complete. Other threads change the word too, so a single miss means little.
void vote_on_layout(WakerTable& table, uint64_t before, uint64_t after) {
  const int8_t votes = table.layout_votes.load(std::memory_order_relaxed);
  if (votes >= kLayoutKnown || votes <= kLayoutRefuted) return;
  const bool fits = after - before == kTaskReference &&
                    (before & (kTaskRunning | kTaskComplete | kTaskNotified)) == kTaskNotified;
  table.layout_votes.store(static_cast<int8_t>(votes + (fits ? 1 : -1)), std::memory_order_relaxed);
}

// Holds the task through a poll: a poll may free its task, and then nobody could tell whether it had
// completed. By the runtime's own waker functions until its layout is known (they may trace), then by the
// count alone. Null: the waker table is not known yet.
WakerTable* hold(const PollFunction& function, void* header) {
  const uint16_t number = function.waker_table.load(std::memory_order_relaxed);
  if (number == kNoTable) return nullptr;
  WakerTable& table = g_tables.wakers[number];
  const auto address = reinterpret_cast<uint64_t>(header);
  if (layout_is_known(table)) {
    task_state(address).fetch_add(kTaskReference, std::memory_order_relaxed);
    return &table;
  }
  const uint64_t before = load_task_state(address);
  table.original.clone(header);
  vote_on_layout(table, before, load_task_state(address));
  return &table;
}

void let_go(const WakerTable& table, void* header) {
  if (layout_is_known(table)) {
    std::atomic_ref<uint64_t> state = task_state(reinterpret_cast<uint64_t>(header));
    uint64_t word = state.load(std::memory_order_relaxed);
    while (word / kTaskReference > 1)
      if (state.compare_exchange_weak(word, word - kTaskReference, std::memory_order_acq_rel)) return;
  }
  table.original.drop(header);  // the last reference: the runtime frees its task itself
}

void begin_poll(const HookGuard& guard, Frame& frame, void* header, uint32_t poller) {
  ThreadContext& context = guard.context();
  drop_dead_frames(context, reinterpret_cast<uintptr_t>(__builtin_frame_address(0)));
  frame.parent = context.frame;
  frame.header = reinterpret_cast<uint64_t>(header);
  frame.poller = poller;
  frame.began = now();
  frame.leaves = 0;
  frame.task = find_task(frame.header);
  if (frame.task == kNone)
    frame.task = add_task(guard, segment::TaskKind::kTask, frame.header, static_cast<uint16_t>(poller));
  frame.task_id = frame.task != kNone ? task_entry(frame.task).id.load(std::memory_order_relaxed) : 0;
  frame.outermost_id = frame.parent != nullptr ? frame.parent->outermost_id : frame.task_id;
  frame.poll = frame.task != kNone ? begin_task_poll(frame.task, frame.began, context.tid) : 0;
  if (frame.parent != nullptr && frame.parent->task != kNone) mark_nesting(frame.parent->task);
  context.joining = 0;
  context.waking = 0;
  context.frame = &frame;
  publish_frame(context);
}

void end_poll(const HookGuard& guard, const Frame& frame, const WakerTable* held) {
  ThreadContext& context = guard.context();
  context.frame = frame.parent;
  publish_frame(context);
  if (frame.task == kNone) return;
  TaskState state = TaskState::kWaiting;
  if (held != nullptr && layout_is_known(*held)) {
    const uint64_t word = load_task_state(frame.header);
    if ((word & kTaskComplete) != 0) return end_task(guard, frame.task, frame.task_id);
    if ((word & kTaskNotified) != 0) state = TaskState::kScheduled;
    publish_references(frame.task, other_references(word));
  }
  end_task_poll(frame.task, frame.began, now(), state);
  g_segment.reserve_ahead(segment::kLeaves);
  g_segment.reserve_ahead(segment::kTasks);
}

}  // namespace

bool layout_is_known(const WakerTable& table) {
  return table.layout_votes.load(std::memory_order_relaxed) >= kLayoutKnown;
}

void note_dropped_reference(const LeafEntry& entry) {
  const WakerTable& table = g_tables.wakers[entry.table];
  if (table.kind != WakerKind::kTask || !layout_is_known(table)) return;
  // The waker that is about to go holds the task, so its header can be read.
  const uint64_t word = load_task_state(entry.waker_data);
  if ((word & (kTaskRunning | kTaskComplete | kTaskNotified)) != 0) return;
  if (task_entry(entry.task).id.load(std::memory_order_acquire) != entry.task_id) return;
  publish_references(entry.task, other_references(word));
}

}  // namespace asynctrace::agent

using namespace asynctrace::agent;

Words asynctrace_poll_hook(void* header, uint32_t number) {
  const PollFunction& function = g_tables.polls[number];
  Frame frame;
  WakerTable* held = nullptr;
  bool begun = false;
  if (const HookGuard guard(current_thread()); guard) {
    held = hold(function, header);
    begin_poll(guard, frame, header, number);
    begun = true;
  }
  const Words result = function.original(header);
  if (begun) {
    if (const HookGuard guard(current_thread()); guard) end_poll(guard, frame, held);
    else if (t_context != nullptr) t_context->frame = frame.parent;
  }
  if (held != nullptr) let_go(*held, header);
  return result;
}

// Cancels and completes the task, unless it runs on another thread at this moment, which then does that
// itself.
Words asynctrace_shutdown_hook(void* header, uint32_t number) {
  const PollFunction& function = g_tables.shutdowns[number];
  WakerTable* held = current_thread() != nullptr ? hold(function, header) : nullptr;
  const uint32_t task = held != nullptr ? find_task(reinterpret_cast<uint64_t>(header)) : kNone;
  const uint64_t id = task != kNone ? task_entry(task).id.load(std::memory_order_acquire) : 0;
  const Words result = function.original(header);
  if (held == nullptr) return result;
  if (id != 0 && layout_is_known(*held) &&
      (load_task_state(reinterpret_cast<uint64_t>(header)) & kTaskComplete) != 0) {
    if (const HookGuard guard(current_thread()); guard) end_task(guard, task, id);
  }
  let_go(*held, header);
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
