// What the agent knows of the thread it runs in: the stack of poll roots, the thread's record in the segment,
// stocks of free records. One pointer of initial-exec TLS; the rest is private memory, reused once its thread
// is gone (noticed by its tid: there are no TLS destructors). Touched only by its own thread.
#pragma once

#include <atomic>
#include <cstdint>

#include "agent/index_pool.hpp"
#include "agent/live.hpp"
#include "common/segment.hpp"

struct asynctrace_frame;
struct asynctrace_collector;

namespace asynctrace::agent {

struct WakerTable;

// Bounds a trace from above: one for each poll in progress, linked to the poll around it (tokio's
// trace::Frame). Kept in the context, not on the stack: where a panic leaves a poll, nothing of ours runs,
// and what is known of that poll must still be there when the next hook notices.
struct Frame {
  Frame* parent;
  uintptr_t root;  // address in the poll hook's stack frame: all frames of the trace lie below it
  const asynctrace_frame* boundary;  // ThreadContext::boundary when it began
  WakerTable* held;                  // whose reference to the task the hook holds, null: none
  uint64_t header;                   // address of the polled task
  uint64_t task_id;                  // 0: no record could be had
  uint64_t outermost_id;             // task of the outermost poll in progress: the worker loop
  uint64_t began;
  uint64_t callback;         // of a dispatch: the program's function; 0: something else
  uint32_t task;             // slot, kNone
  uint32_t poll;             // number of this poll
  uint32_t poller;           // index of its poll function
  uint32_t leaves;           // begun so far
  uint32_t last_of_watcher;  // the watcher that ends with this dispatch, kNone
  uint32_t arming;           // of a dispatch: what armed its watcher, as segment::Watcher has it
  uint32_t armed_at;         // number of that stack, segment::kNoStack
};

// A leaf that was begun or ended a moment ago in the current poll: a leaf that renews its waker in place does
// both, in either order, and then keeps its waiting time.
struct RecentLeaf {
  uint64_t task_id;
  uint64_t since;
  uint32_t leaf;
  uint32_t stack;
  uint32_t poll;
};

struct ThreadContext {
  static constexpr uint32_t kMaxPolls = 16;  // nested ones beyond that are not recorded

  Frame* frame;  // innermost poll in progress
  Frame frames[kMaxPolls];
  uint32_t generation;  // of the segment that `record` lies in
  uint32_t tid;
  segment::Thread* record;
  std::atomic<bool> in_hook;  // a signal handler interrupted a hook of this thread
  uint64_t joining;           // header of the task whose output is being asked for, 0: none
  uintptr_t joining_at;       // stack address of that question
  uint64_t waking;            // header of the task that was last woken through a wrapped waker
  RecentLeaf begun;
  RecentLeaf ended;
  RecentLeaf self_woken;   // by its own task, in the poll of that number
  uintptr_t stack_anchor;  // stands for the root where a stack has none
  uint32_t block_on_task;  // slot of this thread's pseudo task, kNone; meaningful once `used`
  uint64_t block_on_id;
  uint64_t waker_task_id;  // of the kWaker task that was last given a leaf, 0: none
  bool used;               // by an earlier thread, or by this one before a fork
  IndexCache tasks;
  IndexCache leaves;
  IndexCache native_tasks;
  IndexCache watchers;
  uintptr_t library_call;  // frame of the library function in progress that its hook has recorded, 0: none
  asynctrace_frame* boundary;       // innermost one of the native API, on the thread's own stack
  asynctrace_collector* collector;  // innermost one, there as well
  alignas(
      16) unsigned char unwind_space[4096];  // cursor and registers of a walk: too large for a hook's stack
};

extern constinit thread_local ThreadContext* t_context __attribute__((tls_model("initial-exec")));

bool start_threads();
ThreadContext* register_thread();

// Null: not tracing, or no record left for this thread.
inline ThreadContext* current_thread() {
  if (!tracing()) return nullptr;
  ThreadContext* context = t_context;
  if (context != nullptr && context->generation == g_generation) [[likely]]
    return context;
  return register_thread();
}

// Proof that no other hook of this thread is under way. A signal handler that finds one gets an empty guard
// and must pass through.
class HookGuard {
 public:
  explicit HookGuard(ThreadContext* context)
      : context_(context != nullptr && !context->in_hook.load(std::memory_order_relaxed) ? context
                                                                                         : nullptr) {
    if (context_ == nullptr) return;
    context_->in_hook.store(true, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  ~HookGuard() {
    if (context_ == nullptr) return;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    context_->in_hook.store(false, std::memory_order_relaxed);
  }
  HookGuard(const HookGuard&) = delete;
  HookGuard& operator=(const HookGuard&) = delete;

  explicit operator bool() const { return context_ != nullptr; }
  ThreadContext& context() const { return *context_; }

 private:
  ThreadContext* context_;
};

// Ends the polls that an exception, longjmp or pthread_exit has left: their roots lie below `stack_pointer`.
void abandon_polls(const HookGuard& guard, uintptr_t stack_pointer);

// To be called on entry of every hook, with the stack pointer of its caller.
inline void drop_dead_frames(const HookGuard& guard, uintptr_t stack_pointer) {
  ThreadContext& context = guard.context();
  if (context.joining_at < stack_pointer) context.joining = 0;
  if (context.frame != nullptr && context.frame->root < stack_pointer) [[unlikely]]
    abandon_polls(guard, stack_pointer);
}

// The record of the poll in progress as others see it.
inline void publish_frame(const ThreadContext& context) {
  const Frame* frame = context.frame;
  segment::Thread& record = *context.record;
  std::atomic_ref<uint64_t>(record.poll_since)
      .store(frame != nullptr ? frame->began : 0, std::memory_order_relaxed);
  std::atomic_ref<uint64_t>(record.outer_task)
      .store(frame != nullptr ? frame->outermost_id : 0, std::memory_order_relaxed);
  std::atomic_ref<uint64_t>(record.task)
      .store(frame != nullptr ? frame->task_id : 0, std::memory_order_release);
}

}  // namespace asynctrace::agent
