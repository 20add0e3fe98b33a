#include "agent/thread_context.hpp"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/clock.hpp"
#include "agent/platform.hpp"
#include "agent/tasks.hpp"

namespace asynctrace::agent {

constinit thread_local ThreadContext* t_context __attribute__((tls_model("initial-exec"))) = nullptr;

namespace {

// Index = the thread's item number in the segment. `owners` is apart so that a search stays in few cache
// lines.
std::atomic<uint32_t>* g_owners = nullptr;
ThreadContext* g_contexts = nullptr;
std::atomic<uint32_t> g_used{0};
std::atomic<uint32_t> g_sweep{0};

bool thread_is_gone(uint32_t tid) {
  return syscall(SYS_tgkill, getpid(), tid, 0) != 0 && errno == ESRCH;
}

bool claim(uint32_t slot, uint32_t expected, uint32_t tid) {
  return g_owners[slot].compare_exchange_strong(expected, tid, std::memory_order_acq_rel);
}

// A slot of a thread that is gone. A tid is reused once its thread is gone, so a slot with our own tid is
// one.
uint32_t reclaim_slot(uint32_t tid, uint32_t used) {
  for (uint32_t slot = 0; slot < used; slot++)
    if (g_owners[slot].load(std::memory_order_relaxed) == tid) return slot;
  constexpr uint32_t kLooks = 4;  // keeps pace with threads that come and go, at a bounded cost
  for (uint32_t look = 0; look < kLooks && look < used; look++) {
    const uint32_t slot = g_sweep.fetch_add(1, std::memory_order_relaxed) % used;
    const uint32_t owner = g_owners[slot].load(std::memory_order_relaxed);
    if (thread_is_gone(owner) && claim(slot, owner, tid)) return slot;
  }
  return kNone;
}

// The first one without an owner. It counts as used only once it has one, for until then reclaim_slot() would
// give it to another thread as well.
uint32_t fresh_slot(uint32_t tid) {
  const uint32_t capacity = g_segment.capacity(segment::kThreads);
  for (uint32_t slot = g_used.load(std::memory_order_relaxed); slot < capacity; slot++) {
    if (!claim(slot, 0, tid)) continue;
    uint32_t used = g_used.load(std::memory_order_relaxed);
    while (used <= slot && !g_used.compare_exchange_weak(used, slot + 1, std::memory_order_relaxed)) continue;
    return slot;
  }
  return kNone;
}

// A fixed address above every frame of this thread: for threads of glibc their own descriptor, which lies at
// the top of their stack; for the main thread the random bytes that the kernel put above the first frame.
uintptr_t stack_anchor(uint32_t tid) {
  return static_cast<uint32_t>(getpid()) == tid ? getauxval(AT_RANDOM) : pthread_self();
}

void take_over_polls(ThreadContext& context, const ThreadContext* before) {
  context.frame = nullptr;
  context.boundary = before != nullptr ? before->boundary : nullptr;
  context.collector = before != nullptr ? before->collector : nullptr;
  if (before == nullptr || before->frame == nullptr) return;
  const auto depth = before->frame - before->frames;
  for (ptrdiff_t i = 0; i <= depth; i++) {
    if (&context != before) context.frames[i] = before->frames[i];
    context.frames[i].parent = i > 0 ? &context.frames[i - 1] : nullptr;
  }
  context.frame = &context.frames[depth];
}

}  // namespace

bool start_threads() {
  const uint32_t capacity = g_segment.capacity(segment::kThreads);
  g_owners = reserve_array<std::atomic<uint32_t>>(capacity);
  g_contexts = reserve_array<ThreadContext>(capacity);
  return g_owners != nullptr && g_contexts != nullptr;
}

ThreadContext* register_thread() {
  static thread_local bool registering __attribute__((tls_model("initial-exec"))) = false;
  if (registering) return nullptr;  // a signal handler interrupted this very function
  registering = true;
  const ErrnoKeeper errno_keeper;
  const uint32_t tid = thread_id();
  ThreadContext* context = t_context;
  const ThreadContext* const before = context;  // fork: our polls go on in the child
  uint32_t slot = reclaim_slot(tid, g_used.load(std::memory_order_relaxed));
  if (slot == kNone) slot = fresh_slot(tid);
  segment::Thread* const records = g_segment.items<segment::Thread>(segment::kThreads);
  if (slot == kNone || !g_segment.cover(segment::kThreads, slot)) {
    g_segment.count_loss(segment::kLostThreads);
    registering = false;
    return nullptr;
  }
  context = &g_contexts[slot];
  take_over_polls(*context, before);
  context->generation = g_generation;
  context->tid = tid;
  context->record = &records[slot];
  context->in_hook.store(false, std::memory_order_relaxed);
  context->joining = 0;
  context->joining_at = 0;
  context->library_call = 0;
  context->waking = 0;
  context->waker_task_id = 0;
  context->begun = {};
  context->ended = {};
  context->self_woken = {};
  context->stack_anchor = stack_anchor(tid);
  if (!context->used) context->block_on_task = kNone;
  context->used = true;
  end_block_on_task(HookGuard(context));
  segment::Thread& record = *context->record;
  record.state = segment::ThreadState::kOther;
  record.state_since = now();
  record.parks = 0;
  record.task = record.outer_task = record.poll_since = 0;
  prctl(PR_GET_NAME, record.name);
  std::atomic_ref<uint32_t>(record.tid).store(tid, std::memory_order_release);
  t_context = context;
  registering = false;
  return context;
}

}  // namespace asynctrace::agent
