// Polls on request: the program's half of segment::Repoll. A runtime answers, others of its workers may ask
// meanwhile whether it has to; what is kept of an answer is a chain of leaves.
#include <sys/inotify.h>
#include <unistd.h>

#include <atomic>

#include "agent/capture/stack_table.hpp"
#include "agent/clock.hpp"
#include "agent/leaves.hpp"
#include "agent/native/event_hooks.hpp"
#include "agent/platform.hpp"
#include "agent/tasks.hpp"

namespace asynctrace::agent {
namespace {

using segment::kMaxRepollRuntimes;

struct Runtime {
  std::atomic<uint32_t> generation;  // of the segment that it was opened in; 0: free
  uint32_t answering;                // number of the request
  std::atomic<bool> busy;
  std::atomic<uint32_t> answered;
  std::atomic<uint32_t> leaves;  // first of the last answer, kNone
};
Runtime g_runtimes[kMaxRepollRuntimes];

uint32_t word(uint32_t& shared) {
  return std::atomic_ref<uint32_t>(shared).load(std::memory_order_acquire);
}
void set(uint32_t& shared, uint32_t value) {
  std::atomic_ref<uint32_t>(shared).store(value, std::memory_order_release);
}

segment::Repoll& shared() {
  return g_segment.header().repoll;
}

// Null: not opened, or by a process of which this is a forked child.
Runtime* find(const asynctrace_repoll* repoll) {
  if (!tracing() || repoll->slot >= kMaxRepollRuntimes) return nullptr;
  Runtime& runtime = g_runtimes[repoll->slot];
  return runtime.generation.load(std::memory_order_acquire) == g_generation ? &runtime : nullptr;
}

void forget_leaves(Runtime& runtime) {
  const HookGuard guard(current_thread());
  if (guard) end_met_leaves(guard, runtime.leaves.exchange(kNone, std::memory_order_acq_rel));
}

// The kernel tells of a write(2) to the file, not of stores to its mapping.
int watch_segment() {
  const int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (fd < 0) return -1;
  if (inotify_add_watch(fd, g_segment.path(), IN_MODIFY) >= 0) return fd;
  close(fd);
  return -1;
}

}  // namespace

void native_repoll_open(asynctrace_repoll* repoll) {
  const ErrnoKeeper errno_keeper;
  repoll->slot = kMaxRepollRuntimes;
  if (!tracing()) return;
  for (uint32_t slot = 0; slot < kMaxRepollRuntimes; slot++) {
    Runtime& runtime = g_runtimes[slot];
    // What a parent by fork had opened is nobody's in here.
    uint32_t before = runtime.generation.load(std::memory_order_acquire);
    if (before == g_generation ||
        !runtime.generation.compare_exchange_strong(before, g_generation, std::memory_order_acq_rel))
      continue;
    if (before != 0) forget_leaves(runtime);
    const uint32_t request = word(shared().request);
    runtime.answered.store(request, std::memory_order_relaxed);
    runtime.leaves.store(kNone, std::memory_order_relaxed);
    runtime.busy.store(false, std::memory_order_release);
    set(shared().runtimes[slot].answered, request);
    set(shared().runtimes[slot].open, 1);
    repoll->slot = slot;
    repoll->fd = watch_segment();
    return;
  }
}

void native_repoll_close(asynctrace_repoll* repoll) {
  const ErrnoKeeper errno_keeper;
  if (repoll->fd >= 0) close(repoll->fd);
  repoll->fd = -1;
  if (Runtime* runtime = find(repoll)) {
    set(shared().runtimes[repoll->slot].open, 0);
    forget_leaves(*runtime);
    runtime->generation.store(0, std::memory_order_release);
  }
  repoll->slot = kMaxRepollRuntimes;
}

int native_repoll_due(const asynctrace_repoll* repoll) {
  Runtime* runtime = find(repoll);
  if (runtime == nullptr || runtime->busy.load(std::memory_order_acquire)) return 0;
  const uint32_t request = word(shared().request);
  const uint32_t done = word(shared().done);
  const uint32_t answered = runtime->answered.load(std::memory_order_acquire);
  if (done == answered && runtime->leaves.load(std::memory_order_relaxed) != kNone) forget_leaves(*runtime);
  if (request == answered || request == done) return 0;
  set(shared().runtimes[repoll->slot].seen, request);
  return 1;
}

void native_repoll_begin(const asynctrace_repoll* repoll) {
  Runtime* runtime = find(repoll);
  if (runtime == nullptr) return;
  runtime->busy.store(true, std::memory_order_release);
  runtime->answering = word(shared().request);
  forget_leaves(*runtime);
}

void native_repoll_leaf(const asynctrace_repoll* repoll, const void* task, const void* const* pcs,
                        size_t count) {
  const ErrnoKeeper errno_keeper;
  Runtime* runtime = find(repoll);
  const HookGuard guard(current_thread());
  if (runtime == nullptr || !guard || count == 0 || count > segment::kMaxFrames) return;
  const uint32_t slot = find_task(reinterpret_cast<uint64_t>(task));
  if (slot == kNone) return;  // it has ended
  const StackEntry* stack =
      intern_stack({reinterpret_cast<const uint64_t*>(pcs), count}, segment::StackFlags{});
  if (stack == nullptr) return;
  const TaskEntry& entry = task_entry(slot);
  const uint64_t ticks = now();
  const LeafOwner owner{slot, entry.id.load(std::memory_order_acquire), entry.polls, false, ticks, ticks};
  const uint32_t first = runtime->leaves.load(std::memory_order_relaxed);
  runtime->leaves.store(add_met_leaf(guard, owner, stack->number, first), std::memory_order_release);
}

void native_repoll_end(const asynctrace_repoll* repoll, const asynctrace_repoll_result* result) {
  Runtime* runtime = find(repoll);
  if (runtime == nullptr) return;
  segment::RepollRuntime& record = shared().runtimes[repoll->slot];
  set(record.tasks, result->tasks);
  set(record.workers, result->workers);
  set(record.missing_workers, result->missing_workers);
  runtime->answered.store(runtime->answering, std::memory_order_release);
  set(record.answered, runtime->answering);
  runtime->busy.store(false, std::memory_order_release);
}

}  // namespace asynctrace::agent
