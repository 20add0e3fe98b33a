// Boundaries on the stack, and collectors that are called at each leaf: tokio's task::trace, with its Context
// in the agent's ThreadContext. A collector is the program's code: no guard is held while it runs, and
// exceptions may pass.
#include "agent/native/event_hooks.hpp"

#include <string.h>

#include <algorithm>

#include "agent/capture/capture.hpp"
#include "agent/native/native_stack.hpp"
#include "agent/platform.hpp"

namespace asynctrace::agent {

void native_enter(asynctrace_frame* frame) {
  const ErrnoKeeper errno_keeper;
  ThreadContext* context = current_thread();
  if (context == nullptr) return void(frame->hooks = nullptr);
  if (frame->kind == ASYNCTRACE_POLL) begin_native_poll(frame);
  frame->parent = context->boundary;
  context->boundary = frame;
}

void native_leave(asynctrace_frame* frame) {
  const ErrnoKeeper errno_keeper;
  ThreadContext* context = current_thread();
  if (context == nullptr) return;
  context->boundary = frame->parent;
  if (frame->kind == ASYNCTRACE_POLL) end_native_poll(frame);
}

const asynctrace_frame* native_active_frame() {
  const ThreadContext* context = current_thread();
  return context != nullptr ? context->boundary : nullptr;
}

void native_trace_enter(asynctrace_collector* collector) {
  const ErrnoKeeper errno_keeper;
  ThreadContext* context = current_thread();
  if (context == nullptr) return void(collector->hooks = nullptr);
  collector->outer = context->collector;
  collector->busy = 0;
  context->collector = collector;
}

void native_trace_leave(asynctrace_collector* collector) {
  if (ThreadContext* context = current_thread()) context->collector = collector->outer;
}

int native_is_tracing() {
  const ThreadContext* context = current_thread();
  return context != nullptr && context->collector != nullptr && context->collector->busy == 0;
}

// Compiled with a frame pointer (see LeafSite).
int native_trace_leaf() {
  const ThreadContext* context = current_thread();
  if (context == nullptr || context->collector == nullptr) return 0;
  asynctrace_collector* collector = context->collector;
  if (collector->busy != 0) return 0;
  const asynctrace_trace_meta meta{innermost_root(*context), __builtin_frame_address(0)};
  collector->busy = 1;
  collector->leaf(collector, &meta);
  collector->busy = 0;
  return 1;
}

size_t native_backtrace(const asynctrace_trace_meta* meta, const void** pcs, size_t capacity) {
  const ErrnoKeeper errno_keeper;
  const HookGuard guard(current_thread());
  if (!guard || !has_root(guard.context())) return 0;
  const auto stack = native_stack(guard, LeafSite::of_hook(meta->leaf));
  if (!stack) return 0;
  for (size_t i = 0; i < std::min(capacity, stack->pcs.size()); i++)
    pcs[i] = reinterpret_cast<const void*>(stack->pcs[i]);
  return stack->pcs.size();
}

}  // namespace asynctrace::agent
