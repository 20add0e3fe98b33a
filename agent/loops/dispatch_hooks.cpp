// Before and after a callback of the program that a poll loop's library calls.
#include "agent/arch/thunks.hpp"
#include "agent/live.hpp"
#include "agent/loops/calls.hpp"
#include "agent/loops/watchers.hpp"

using namespace asynctrace::agent;

CallTarget asynctrace_before_dispatch(CallRegisters* call, uint64_t* frame) {
  const auto number = static_cast<uint32_t>(call->number);
  const WatcherEntry& entry = watcher_entry(number);
  const CallTarget target{const_cast<void*>(entry.callback.load(std::memory_order_acquire)), 0};
  call->is_begun = false;
  const HookGuard guard(current_thread());
  if (!guard) return target;
  // What the callback calls is the program's, whichever function of the library has called it.
  call->outer_call = guard.context().library_call;
  guard.context().library_call = 0;
  call->is_begun = begin_dispatch(guard, number, reinterpret_cast<uintptr_t>(frame)) != nullptr;
  return target;
}

void asynctrace_after_dispatch(CallRegisters* call, uint64_t* frame) {
  if (watcher_entry(static_cast<uint32_t>(call->number)).facts.returns_nothing) call->results[0] = 0;
  if (!call->is_begun) return;
  const HookGuard guard(current_thread());
  if (!guard) return;
  guard.context().library_call = call->outer_call;
  const auto number = static_cast<uint32_t>(call->number);
  const Frame* innermost = guard.context().frame;
  const uint64_t task_id = innermost != nullptr ? innermost->task_id : 0;
  if (!end_dispatch(guard, reinterpret_cast<uintptr_t>(frame))) return;
  const WatcherEntry& entry = watcher_entry(number);
  const auto result = static_cast<int>(call->results[0]);
  if (entry.facts.error_disarms && result < 0 && entry.task_id.load(std::memory_order_acquire) == task_id)
    disarm(guard, number);
  if (entry.facts.zero_ends && result == 0) end_last_dispatch(guard, number, task_id);
}

// The library has done with a watcher, by whatever end: nothing calls its thunk any more.
void asynctrace_notify_hook(void* data, uint32_t number) {
  auto* const notify = reinterpret_cast<void (*)(void*)>(notify_of(number));
  if (const HookGuard guard(current_thread()); guard) {
    end_watcher(guard, number);
    give_back(guard, number);
  }
  if (notify != nullptr) notify(data);
}
