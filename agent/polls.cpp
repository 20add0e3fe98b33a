#include "agent/polls.hpp"

#include "agent/clock.hpp"
#include "agent/tasks.hpp"

namespace asynctrace::agent {

Frame* push_poll(const HookGuard& guard, uint64_t header, uint16_t poller, uintptr_t root) {
  ThreadContext& context = guard.context();
  // A root in this very place is dead as well.
  drop_dead_frames(guard, root + 1);
  Frame* parent = context.frame;
  Frame* frame = parent != nullptr ? parent + 1 : context.frames;
  if (frame == context.frames + ThreadContext::kMaxPolls) return nullptr;
  frame->parent = parent;
  frame->root = root;
  frame->boundary = context.boundary;
  frame->held = nullptr;
  frame->header = header;
  frame->poller = poller;
  frame->began = now();
  frame->leaves = 0;
  frame->task = find_task(header);
  if (frame->task == kNone) frame->task = add_task(guard, segment::TaskKind::kTask, header, poller);
  frame->task_id = frame->task != kNone ? task_entry(frame->task).id.load(std::memory_order_relaxed) : 0;
  frame->outermost_id = parent != nullptr ? parent->outermost_id : frame->task_id;
  frame->poll = frame->task != kNone ? begin_task_poll(frame->task, frame->began, context.tid) : 0;
  if (parent != nullptr && parent->task != kNone) mark_nesting(parent->task);
  context.joining = 0;
  context.waking = 0;
  context.frame = frame;
  publish_frame(context);
  return frame;
}

void pop_poll(const HookGuard& guard) {
  ThreadContext& context = guard.context();
  context.frame = context.frame->parent;
  publish_frame(context);
}

}  // namespace asynctrace::agent
