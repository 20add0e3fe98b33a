#include "agent/late_modules.hpp"

#include <pthread.h>
#include <sys/epoll.h>

#include <atomic>

#include "agent/capture/stack_table.hpp"
#include "agent/freed_frames.hpp"
#include "agent/imports.hpp"
#include "agent/init.hpp"
#include "agent/interpose.hpp"
#include "agent/live.hpp"
#include "agent/loader_lock.hpp"
#include "agent/loops/loops.hpp"
#include "agent/modules.hpp"
#include "agent/native/hook_variables.hpp"
#include "agent/platform.hpp"
#include "agent/rust/tables.hpp"
#include "agent/tasks.hpp"
#include "agent/thread_context.hpp"

namespace asynctrace::agent {
namespace {

Stage g_stage = Stage::kNotBegun;    // atomic
std::atomic<uint32_t> g_starter{0};  // the thread that is at it
std::atomic<uint32_t> g_looks_wanted{0};
std::atomic<bool> g_has_threads{false};
std::atomic<bool> g_lock_is_lost{false};
bool g_runtime_has_come = false;

void set_stage(Stage stage) {
  std::atomic_ref(g_stage).store(stage, std::memory_order_release);
}

bool is_tracing() {
  return stage() == Stage::kTracing;
}

// Whoever comes second waits: what is armed meanwhile would be missed.
bool start_once(Patching patching) {
  Stage expected = Stage::kNothingFound;
  if (std::atomic_ref(g_stage).compare_exchange_strong(expected, Stage::kStarting,
                                                       std::memory_order_acq_rel)) {
    g_starter.store(thread_id(), std::memory_order_relaxed);
    set_stage(start_tracing(patching) ? Stage::kTracing : Stage::kFailed);
    return is_tracing();
  }
  while (stage() == Stage::kStarting) {
    if (g_starter.load(std::memory_order_relaxed) == thread_id()) return false;  // in a signal handler
    syscall(SYS_sched_yield);
  }
  return is_tracing();
}

// For the first call into a poll loop's library, in any thread; takes no lock of the loader.
bool start_tracing_now() {
  const ErrnoKeeper errno_keeper;
  return unwinder_is_ready() && start_once(Patching::kLater);
}

bool poller_is_gone(uint16_t poller) {
  return poller != segment::kNoPoller &&
         find_module(reinterpret_cast<uint64_t>(g_tables.polls[poller].original)) == nullptr;
}

void gone(LoadedModule& module) {
  forget_tables(module);
  forget_hook_variables(module);
  if (!is_tracing()) return;
  mark_stacks_gone(module);
  if (const HookGuard guard(current_thread()); guard) end_tasks_of(guard, poller_is_gone);
}

void redirect(const LoadedModule& module) {
  SlotPatcher patcher;
  redirect_imports(module, patcher);
}

void come(LoadedModule& module) {
  if (find_runtime(module)) g_runtime_has_come = true;
  find_loop_library(module);
  if (!is_tracing()) return;
  mark_stacks_back(module);
  if (came_late()) redirect(module);
}

// As a callback of dl_iterate_phdr(): meanwhile the loader takes no module away.
int look_at_all(dl_phdr_info*, size_t, void*) {
  refresh();
  // The same library, closed and opened again since the last look.
  for (LoadedModule& module : modules())
    if (module.late && !module.unloaded.load(std::memory_order_relaxed) && !has_our_thunks(module))
      gone(module), come(module);
  if (is_tracing() && tracing()) patch_program();
  else patch_loop_calls(), patch_deletes();
  return 1;
}

void look(bool may_load) {
  dl_iterate_phdr(look_at_all, nullptr);
  if (!may_load) return;
  if (!is_tracing() && g_runtime_has_come) start_once(Patching::kNow);
  else if (has_loop_library()) prepare_unwinder();
}

// Whether the loader's lock may be in the hands of a thread that a fork left behind.
bool lock_is_lost() {
  if (is_forked_child() && g_has_threads.load(std::memory_order_relaxed))
    g_lock_is_lost.store(true, std::memory_order_relaxed);
  return g_lock_is_lost.load(std::memory_order_relaxed);
}

// `may_load`: where the program itself is about to take the loader's big lock. Elsewhere it may be held by a
// dlopen() that waits for this very thread.
void look_again(bool may_load) {
  const Stage seen = stage();
  if (seen == Stage::kNotBegun || seen == Stage::kFailed || lock_is_lost()) return;
  if (g_detached.load(std::memory_order_relaxed)) return;
  if (g_looks_wanted.fetch_add(1, std::memory_order_acq_rel) != 0) return;  // who is at it looks once more
  const ErrnoKeeper errno_keeper;
  uint32_t wanted = 1;
  do {
    look(may_load);
  } while (!g_looks_wanted.compare_exchange_strong(wanted, 0, std::memory_order_acq_rel));
}

struct Act {
  void (*function)(void* data);
  void* data;
};

void act_alone(void* act) {
  const Act& todo = *static_cast<const Act*>(act);
  todo.function(todo.data);
  // Whoever has asked for a look meanwhile has gone on without.
  uint32_t wanted = 1;
  while (!g_looks_wanted.compare_exchange_strong(wanted, 0, std::memory_order_acq_rel))
    if (!g_detached.load(std::memory_order_relaxed)) look(false);
}

struct Real {
  decltype(&::dlclose) dlclose;
  decltype(&::pthread_create) pthread_create;
  decltype(&::epoll_create) epoll_create;
  decltype(&::epoll_create1) epoll_create1;
};
Real g_real;

}  // namespace

void start_late_modules(bool is_tracing) {
  real(g_real.dlclose, "dlclose");
  real(g_real.pthread_create, "pthread_create");
  real(g_real.epoll_create, "epoll_create");
  real(g_real.epoll_create1, "epoll_create1");
  if (came_late()) g_has_threads.store(true, std::memory_order_relaxed);  // nobody has counted them
  start_loops(start_tracing_now);
  set_stage(is_tracing ? Stage::kTracing : Stage::kNothingFound);
}

ASYNCTRACE_UNSANITIZED Stage stage() {
  return __atomic_load_n(&g_stage, __ATOMIC_ACQUIRE);
}

void refresh() {
  refresh_modules(gone, come);
}

void redirect_all() {
  if (!came_late()) return;
  for (const LoadedModule& module : modules())
    if (!module.unloaded.load(std::memory_order_relaxed)) redirect(module);
}

bool alone_with_modules(void (*function)(void* data), void* data) {
  uint32_t wanted = 0;
  if (lock_is_lost() || !g_looks_wanted.compare_exchange_strong(wanted, 1, std::memory_order_acq_rel))
    return false;
  Act act{function, data};
  with_loader_lock(act_alone, &act);
  return true;
}

}  // namespace asynctrace::agent

using namespace asynctrace::agent;

ASYNCTRACE_UNSANITIZED void* asynctrace_before_dlsym() {
  // A sanitizer's runtime is its first caller, and cannot bear sanitized code yet.
  if (stage() != Stage::kNotBegun) look_again(true);
  return reinterpret_cast<void*>(real_dlsym());
}

ASYNCTRACE_EXPORT int dlclose(void* library) {
  const int result = real(g_real.dlclose, "dlclose")(library);
  look_again(false);
  return result;
}

ASYNCTRACE_EXPORT int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                                     void* (*function)(void*), void* argument) {
  look_again(false);
  g_has_threads.store(true, std::memory_order_relaxed);
  return real(g_real.pthread_create, "pthread_create")(thread, attributes, function, argument);
}

ASYNCTRACE_EXPORT int epoll_create(int size) {
  look_again(false);
  return real(g_real.epoll_create, "epoll_create")(size);
}

ASYNCTRACE_EXPORT int epoll_create1(int flags) {
  look_again(false);
  return real(g_real.epoll_create1, "epoll_create1")(flags);
}
