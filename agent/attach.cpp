#include "agent/attach.hpp"

#include <linux/futex.h>
#include <string.h>
#include <time.h>

#include "agent/clock.hpp"
#include "agent/crash.hpp"
#include "agent/freed_frames.hpp"
#include "agent/imports.hpp"
#include "agent/init.hpp"
#include "agent/interpose.hpp"
#include "agent/late_modules.hpp"
#include "agent/live.hpp"
#include "agent/loops/loops.hpp"
#include "agent/modules.hpp"
#include "agent/native/event_hooks.hpp"
#include "agent/native/hook_variables.hpp"
#include "agent/patch.hpp"
#include "agent/platform.hpp"
#include "agent/poll_loop.hpp"
#include "agent/proc_files.hpp"
#include "agent/rust/tables.hpp"
#include "agent/tasks.hpp"
#include "agent/thread_context.hpp"

namespace asynctrace::agent {
namespace {

constexpr const char* kBadHooks =
    "the hooks are not what asynctrace writes, or more than 8 libraries were told of";
constexpr const char* kNotToFollow =
    "it was preloaded, and could not start or was told not to (--follow=none)";
char g_directory[sizeof(AttachCall::directory)];

AttachStatus off(AttachCall& call, const char* reason) {
  strncpy(call.reason, reason, sizeof(call.reason) - 1);
  return AttachStatus::kOff;
}

// The thread that we run in was stopped inside one of the agent's own hooks.
bool is_in_hook() {
  return t_context != nullptr && t_context->in_hook.load(std::memory_order_relaxed);
}

void say_tracing() {
  segment::Header& header = g_segment.header();
  g_config.attached_at = now();
  std::atomic_ref<uint64_t>(header.attached_at).store(g_config.attached_at, std::memory_order_relaxed);
  std::atomic_ref<segment::OffReason>(header.off_reason)
      .store(segment::OffReason::kNone, std::memory_order_relaxed);
  std::atomic_ref<segment::AgentState>(header.state)
      .store(segment::AgentState::kTracing, std::memory_order_release);
}

void say_detached() {
  segment::Header& header = g_segment.header();
  std::atomic_ref<segment::OffReason>(header.off_reason)
      .store(segment::OffReason::kDetached, std::memory_order_relaxed);
  std::atomic_ref<segment::AgentState>(header.state)
      .store(segment::AgentState::kOff, std::memory_order_release);
}

// Nobody looks at modules meanwhile.
bool add_hooks(AttachCall& call) {
  call.hook_rows[sizeof(call.hook_rows) - 1] = '\0';
  return call.hook_rows[0] == '\0' || add_user_rows(call.hook_rows);
}

void tell_of_hooks(AttachCall& call) {
  if (call.hook_rows[0] == '\0') return;
  const auto rows = user_rows();
  for (size_t i = 0; i < rows.size(); i++) call.hooks[i] = state_of(rows[i]);
}

// Null: ready to patch.
const char* prepare(AttachCall& call, bool& has_runtime) {
  static bool is_started = false;  // by an attach that found no runtime, or no room for its segment
  if (!is_started) {
    start_poll_loop();
    start_crash();
    if (!start_live_page()) return "the kernel has no MADV_WIPEONFORK (Linux 4.14)";
    if (!start_modules() || !start_tables()) return "the address space limit (ulimit -v) is too low";
    start_imports();
    start_freed_frames();
    is_started = true;
  }
  if (!add_hooks(call)) return kBadHooks;
  const auto look = [](void* found) {
    refresh();
    *static_cast<bool*>(found) = find_runtimes() || has_loop_library() || has_plain_caller();
  };
  if (!alone_with_modules(look, &has_runtime)) return "another thread is at the agent's tables";
  return has_runtime ? open_segment() : nullptr;
}

AttachStatus attach_first(AttachCall& call) {
  memcpy(g_directory, call.directory, sizeof(g_directory) - 1);
  if (g_directory[0] != '\0') g_config.directory = g_directory;
  // Names and places of another process that `run` started, which may be an ancestor of this one.
  g_config.output = g_config.run_id = g_config.report_in = nullptr;
  g_config.max_size = call.max_size;
  bool has_runtime = false;
  if (const char* reason = prepare(call, has_runtime)) return off(call, reason);
  if (!has_runtime) return AttachStatus::kNoRuntime;
  say_tracing();
  start_late_modules(true);
  // What has gone meanwhile must not be touched.
  const auto patch = [](void* call) {
    refresh();
    redirect_all();
    patch_program();
    tell_of_hooks(*static_cast<AttachCall*>(call));
  };
  // No other thread comes here before slots lead to us.
  alone_with_modules(patch, &call);
  return AttachStatus::kTracing;
}

AttachStatus attach_again(AttachCall& call) {
  const auto patch = [](void* data) {
    AttachCall& call = *static_cast<AttachCall*>(data);
    refresh();
    if (!add_hooks(call)) {
      call.status = off(call, kBadHooks);
      return;
    }
    find_loop_libraries();
    if (const HookGuard guard(current_thread()); guard) {
      end_unwatched_tasks(guard);
      end_operations(guard);
    }
    say_tracing();
    g_detached.store(false, std::memory_order_relaxed);
    redo_patches();
    redirect_all();
    patch_program();
    tell_of_hooks(call);
    call.status = AttachStatus::kTracing;
  };
  return alone_with_modules(patch, &call) ? call.status : AttachStatus::kBusy;
}

AttachStatus attach(AttachCall& call) {
  if (call.size != sizeof(call)) return off(call, "this agent and asynctrace are of different versions");
  switch (stage()) {
    case Stage::kNotBegun: return came_late() ? attach_first(call) : off(call, kNotToFollow);
    case Stage::kNothingFound: return AttachStatus::kNoRuntime;
    case Stage::kFailed: return off(call, "it could not start when the first runtime came");
    case Stage::kStarting: return AttachStatus::kBusy;
    case Stage::kTracing: break;
  }
  if (is_in_hook()) return AttachStatus::kBusy;
  if (!tracing()) return off(call, "it has turned itself off");
  return g_detached.load(std::memory_order_relaxed) ? attach_again(call) : AttachStatus::kAlready;
}

AttachStatus detach(AttachCall&) {
  if (is_in_hook()) return AttachStatus::kBusy;
  if (stage() != Stage::kTracing || g_detached.load(std::memory_order_relaxed) || !tracing())
    return AttachStatus::kNotTracing;
  const auto undo = [](void*) {
    refresh();
    g_detached.store(true, std::memory_order_relaxed);
    undo_patches();
    clear_hook_variables();
    say_detached();
  };
  return alone_with_modules(undo, nullptr) ? AttachStatus::kDetached : AttachStatus::kBusy;
}

// An asynctrace that was killed leaves a call behind, which goes on while the next one begins another.
void act_alone(AttachCall& call, AttachStatus (*act)(AttachCall& call)) {
  static std::atomic<bool> at_work{false};
  if (at_work.exchange(true, std::memory_order_acquire)) {
    call.status = AttachStatus::kBusy;
    return;
  }
  call.status = act(call);
  at_work.store(false, std::memory_order_release);
}

// Whether whoever made this thread come here still holds it.
bool is_held() {
  char status[2048];
  status[read_file("/proc/thread-self/status", status, sizeof(status) - 1)] = '\0';
  constexpr char kField[] = "\nTracerPid:\t";
  const char* tracer = strstr(status, kField);
  return tracer != nullptr && tracer[sizeof(kField) - 1] != '0';
}

void meet(AttachCall& call) {
  constexpr timespec kLook{0, 20'000'000};
  constexpr int kLooks = 250;
  std::atomic_ref<uint32_t>(call.done).store(1, std::memory_order_release);
  const std::atomic_ref<uint32_t> go(call.go);
  for (int look = 0; look < kLooks && go.load(std::memory_order_acquire) == 0; look++) {
    if (look > 0 && !is_held()) return;
    syscall(SYS_futex, &call.go, FUTEX_WAIT, 0, &kLook);
  }
}

}  // namespace
}  // namespace asynctrace::agent

using namespace asynctrace;

uint32_t asynctrace_attach_ready = 0;

void asynctrace_attach(AttachCall* call) {
  const agent::ErrnoKeeper errno_keeper;
  agent::act_alone(*call, agent::attach);
  agent::meet(*call);
}

void asynctrace_detach(AttachCall* call) {
  const agent::ErrnoKeeper errno_keeper;
  agent::act_alone(*call, agent::detach);
  agent::meet(*call);
}
