#include "agent/crash.hpp"

#include <signal.h>

#include <algorithm>

#include "agent/arch/thunks.hpp"
#include "agent/capture/cfi.hpp"
#include "agent/capture/unwinder.hpp"
#include "agent/clock.hpp"
#include "agent/interpose.hpp"
#include "agent/live.hpp"
#include "agent/loops/calls.hpp"
#include "agent/platform.hpp"
#include "agent/thread_context.hpp"

namespace asynctrace::agent {
namespace {

alignas(16) unsigned char g_unwind_space[kUnwindSpace];
WalkedFrame g_frames[segment::kMaxCrashFrames];

// Libunwind is not entered again below a hook that a signal interrupted: it may hold a lock.
bool may_walk() {
  return t_context == nullptr || !t_context->in_hook.load(std::memory_order_relaxed);
}

void record(segment::Crash& crash, const CallerRegisters& caller) {
  std::atomic_ref<uint32_t>(crash.tid).store(0, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_release);
  crash.signal = SIGABRT;
  crash.source = segment::CrashSource::kAbort;
  crash.at = now();
  const ThreadContext* context = t_context;
  const bool is_known = context != nullptr && context->generation == g_generation;
  crash.task = is_known ? context->record->task : 0;
  crash.poll_since = is_known ? context->record->poll_since : 0;
  crash.count = 0;
  if (may_walk()) {
    const Walk walk = walk_registers(g_unwind_space, caller, g_frames);
    for (size_t i = 0; i < walk.count; i++) crash.pcs[i] = g_frames[i].pc;
    crash.count = static_cast<uint32_t>(walk.count);
  }
  std::atomic_ref<uint32_t>(crash.tid).store(thread_id(), std::memory_order_release);
}

}  // namespace

void start_crash() {
  asynctrace_find_real_abort();
}

void publish_poll_hook() {
  const auto poll = reinterpret_cast<uint64_t>(&asynctrace_poll_hook);
  const auto dispatch = reinterpret_cast<uint64_t>(&asynctrace_dispatch);
  const LoadedModule* module = find_module(poll);
  FunctionRange range;
  if (module == nullptr || !find_function(*module, poll, range)) return;
  segment::Header& header = g_segment.header();
  header.poll_hook_start = range.start;
  header.poll_hook_end = range.end;
  if (!find_function(*module, dispatch, range)) return;
  header.dispatch_hook_start = range.start;
  header.dispatch_hook_end = range.end;
}

}  // namespace asynctrace::agent

using namespace asynctrace::agent;

void* asynctrace_real_abort = nullptr;
void* asynctrace_real_assert_fail = nullptr;
alignas(16) char asynctrace_crash_stack[kCrashStackSize];
uint32_t asynctrace_crash_busy = 0;

void asynctrace_find_real_abort() {
  asynctrace_real_assert_fail = real_dlsym()(g_real_scope, "__assert_fail");
  asynctrace_real_abort = real_dlsym()(g_real_scope, "abort");
}

void asynctrace_record_abort(const CallerRegisters* caller) {
  // A forked child that has not been traced yet is not worth a segment of its own now.
  const Live* live = g_live.load(std::memory_order_acquire);
  if (live == nullptr || live->tracing.load(std::memory_order_acquire) == 0) return;
  if (g_detached.load(std::memory_order_relaxed)) return;
  const ErrnoKeeper errno_keeper;
  record(g_segment.header().crash, *caller);
}
