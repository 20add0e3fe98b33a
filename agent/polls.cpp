#include "agent/polls.hpp"

#include "agent/clock.hpp"
#include "agent/tasks.hpp"

namespace asynctrace::agent {

namespace {

// Null: nested too deeply.
Frame* next_frame(const HookGuard& guard, uintptr_t root) {
  // A root in this very place is dead as well.
  drop_dead_frames(guard, root + 1);
  ThreadContext& context = guard.context();
  Frame* frame = context.frame != nullptr ? context.frame + 1 : context.frames;
  return frame != context.frames + ThreadContext::kMaxPolls ? frame : nullptr;
}

Frame* begin(const HookGuard& guard, Frame* frame, uint32_t task, uint64_t task_id, uintptr_t root) {
  ThreadContext& context = guard.context();
  Frame* parent = context.frame;
  frame->parent = parent;
  frame->root = root;
  frame->boundary = context.boundary;
  frame->held = nullptr;
  frame->began = now();
  frame->leaves = 0;
  frame->callback = 0;
  frame->last_of_watcher = kNone;
  frame->arming = 0;
  frame->armed_at = segment::kNoStack;
  frame->task = task;
  frame->task_id = task_id;
  frame->outermost_id = parent != nullptr ? parent->outermost_id : task_id;
  frame->poll = task != kNone ? begin_task_poll(task, frame->began, context.tid) : 0;
  if (parent != nullptr && parent->task != kNone) mark_nesting(parent->task);
  context.joining = 0;
  context.waking = 0;
  context.frame = frame;
  publish_frame(context);
  return frame;
}

}  // namespace

Frame* push_poll(const HookGuard& guard, uint64_t header, uint16_t poller, uintptr_t root) {
  Frame* frame = next_frame(guard, root);
  if (frame == nullptr) return nullptr;
  frame->header = header;
  frame->poller = poller;
  uint32_t task = find_task(header);
  if (task == kNone) task = add_task(guard, segment::TaskKind::kTask, header, poller);
  const uint64_t id = task != kNone ? task_entry(task).id.load(std::memory_order_relaxed) : 0;
  return begin(guard, frame, task, id, root);
}

Frame* push_poll_of(const HookGuard& guard, uint32_t task, uint64_t task_id, uint64_t header,
                    uintptr_t root) {
  Frame* frame = next_frame(guard, root);
  if (frame == nullptr) return nullptr;
  frame->header = header;
  frame->poller = segment::kNoPoller;
  return begin(guard, frame, task, task_id, root);
}

void pop_poll(const HookGuard& guard) {
  ThreadContext& context = guard.context();
  context.frame = context.frame->parent;
  publish_frame(context);
}

}  // namespace asynctrace::agent
