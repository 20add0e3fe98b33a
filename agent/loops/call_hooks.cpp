// Before and after a function of a poll loop's library: what it does to its watchers is done to their
// records.
#include "agent/arch/thunks.hpp"
#include "agent/live.hpp"
#include "agent/loops/call.hpp"
#include "agent/loops/loops.hpp"
#include "agent/loops/plain.hpp"
#include "agent/loops/rings.hpp"
#include "agent/loops/watchers.hpp"
#include "agent/platform.hpp"

namespace asynctrace::agent {
namespace {

ThreadContext* thread_in_loop() {
  ThreadContext* context = current_thread();
  return context != nullptr || g_live.load(std::memory_order_acquire) != nullptr || !begin_tracing()
             ? context
             : current_thread();
}

}  // namespace
}  // namespace asynctrace::agent

using asynctrace::LoopRole;
using namespace asynctrace::agent;

namespace {

// A callback that ends in the call (a tail call) has left the stack: its function is all that is known.
const StackEntry* stack_of_call(const HookGuard& guard, uint64_t* frame) {
  const LeafSite site = LeafSite::of_hook(frame);
  const Frame* dispatch = guard.context().frame;
  if (site.return_address != reinterpret_cast<uint64_t>(asynctrace_dispatch_return) || dispatch == nullptr)
    return capture(guard, site);
  const uint64_t callback[] = {dispatch->callback + 1};
  constexpr uint16_t kFlags = asynctrace::segment::kIncomplete;
  // Most often it does so each time.
  const StackEntry* last = stack_entry(dispatch->armed_at);
  const bool is_same = last != nullptr && last->count == 1 && last->pcs[0] == callback[0] &&
                       last->flags == kFlags && last->gone_with.load(std::memory_order_acquire) == 0;
  return is_same ? last : intern_stack(callback, kFlags);
}

// What a hook does while the guard is held, on as little stack as may be: below it stacks are walked.
void record(CallRegisters* registers, uint64_t* frame) {
  // Every program closes files.
  const bool begins = loop_function(static_cast<uint32_t>(registers->number)).row->role != LoopRole::kClose;
  if (!begins && !watches_anything()) return;
  const HookGuard guard(begins ? thread_in_loop() : current_thread());
  if (!guard) return;
  const auto root = reinterpret_cast<uintptr_t>(frame);
  drop_dead_frames(guard, root);
  ThreadContext& context = guard.context();
  if (context.library_call <= root) context.library_call = 0;  // left by longjmp
  Call call(*registers, frame);
  const uint64_t return_address = frame[1];
  const bool is_librarys = call.is_from_library(return_address);
  if (context.library_call != 0 && is_librarys) return;
  registers->is_recorded = true;
  registers->outer_call = context.library_call;
  if (call.row().role == LoopRole::kLoop) return call.begin_loop(guard, root);
  context.library_call = root;
  if (is_librarys && call.row().only_programs) return;
  const bool is_by_loop = is_librarys && (context.frame == nullptr || context.frame->callback == 0);
  if (is_by_loop && call.row().not_by_loop) return;
  uint32_t number = call.before(guard);
  if (number == kNone) number = call.before_source(guard);
  const bool submits = number == kNone && call.submits(guard);
  if (number == kNone && !submits) return;
  const StackEntry* stack = stack_of_call(guard, frame);
  if (submits) submit_ring(guard, call.ring(), stack);
  else registers->was_armed = arm(guard, number, stack);
}

}  // namespace

CallTarget asynctrace_before_call(CallRegisters* registers, uint64_t* frame) {
  registers->watcher = kNone;
  registers->is_recorded = registers->is_begun = registers->was_armed = false;
  const LoopFunction& function = loop_function(static_cast<uint32_t>(registers->number));
  if (function.row->instead != nullptr) Call(*registers, frame).insert_arguments();
  record(registers, frame);
  if (function.row->returns_nothing && registers->watcher == kNone) {
    Call(*registers, frame).take_arguments_back();
    return {function.real, function.row->stack_words};
  }
  return {function.target, function.row->stack_words};
}

void asynctrace_after_call(CallRegisters* registers, uint64_t* frame) {
  Call call(*registers, frame);
  if (call.row().role == LoopRole::kCallbackOf) call.give_callback_back();
  if (!registers->is_recorded) return;
  const HookGuard guard(current_thread());
  if (!guard) return;
  const auto root = reinterpret_cast<uintptr_t>(frame);
  if (guard.context().library_call == root) guard.context().library_call = registers->outer_call;
  call.after(guard, root);
  g_segment.reserve_ahead(asynctrace::segment::kLeaves);
  g_segment.reserve_ahead(asynctrace::segment::kTasks);
  g_segment.reserve_ahead(asynctrace::segment::kWatchers);
}
