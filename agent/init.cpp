// Where the agent begins and ends: its constructor looks the program and its libraries over, and only where
// it finds a runtime makes a segment and patches slots.
#include "agent/init.hpp"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <atomic>

#include "agent/attach.hpp"
#include "agent/capture/capture.hpp"
#include "agent/capture/unwinder.hpp"
#include "agent/clock.hpp"
#include "agent/config.hpp"
#include "agent/crash.hpp"
#include "agent/elf_symbols.hpp"
#include "agent/freed_frames.hpp"
#include "agent/got.hpp"
#include "agent/imports.hpp"
#include "agent/interpose.hpp"
#include "agent/late_modules.hpp"
#include "agent/leaves.hpp"
#include "agent/live.hpp"
#include "agent/loops/loops.hpp"
#include "agent/loops/plain.hpp"
#include "agent/loops/watchers.hpp"
#include "agent/modules.hpp"
#include "agent/native/hook_variables.hpp"
#include "agent/native/labels.hpp"
#include "agent/native/native_tasks.hpp"
#include "agent/platform.hpp"
#include "agent/poll_loop.hpp"
#include "agent/rust/tables.hpp"
#include "agent/tasks.hpp"
#include "agent/thread_context.hpp"

namespace asynctrace::agent {
namespace {

// The loader would give us the program's copy, and what we do to ours must not happen to it.
bool uses_libunwind() {
  for (const LoadedModule& module : modules())
    if (strstr(module.path, "/libunwind.so") != nullptr) return true;
  return false;
}

std::atomic<bool> g_unwinder_is_there{false};  // then it is among the program's modules as well

// Null: it is there.
const char* load_unwinder() {
  if (unwinder_is_ready()) return nullptr;
  if (uses_libunwind()) return "the program itself uses libunwind, which we would change";
  if (!start_unwinder()) return "libunwind.so.8 cannot be loaded: install libunwind8";
  g_unwinder_is_there.store(true, std::memory_order_release);
  return nullptr;
}

bool may_follow() {
  return g_config.follow || g_config.run_pid == 0 || g_config.run_pid == static_cast<uint32_t>(getpid());
}

// What every process has: its files need not be opened.
bool has_no_runtime(const LoadedModule& module) {
  const char* name = soname(module);
  return &module == agent_module() || strcmp(name, "libc.so.6") == 0 || strncmp(name, "ld-linux", 8) == 0;
}

bool g_began_early = false;

void start_preloaded() {
  start_poll_loop();
  start_crash();
  if (!may_follow()) return;
  if (!start_live_page())
    return report_in(g_config, ReportStatus::kOff, "the kernel has no MADV_WIPEONFORK (Linux 4.14)");
  if (!start_modules() || !start_tables())
    return report_in(g_config, ReportStatus::kOff, "the address space limit (ulimit -v) is too low");
  if (g_config.hook_rows != nullptr && !add_user_rows(g_config.hook_rows))
    return report_in(g_config, ReportStatus::kOff, "ASYNCTRACE_HOOK_ROWS is not what asynctrace writes");
  start_freed_frames();
  const bool found = find_runtimes();
  if (!found) report_in(g_config, ReportStatus::kNoRuntime);
  else if (!start_tracing()) return;
  start_late_modules(found);
  patch_loop_calls();
  patch_deletes();
  if (has_loop_library()) prepare_unwinder();
  // A server of root's may give that up before it comes to its loop, and then could not make the file.
  if (!found && loop_library_has_caller() && geteuid() == 0) g_began_early = begin_tracing();
}

// Nothing was recorded in what was begun early.
bool is_unused() {
  return g_began_early && g_segment.used(segment::kTasks) == 0 && g_segment.used(segment::kPollers) == 0;
}

// What came late waits for asynctrace_attach().
__attribute__((constructor)) void construct() {
  const ErrnoKeeper errno_keeper;
  g_config = read_config();
  if (comes_before_libc()) start_preloaded();
  else g_real_scope = RTLD_DEFAULT;
  std::atomic_ref<uint32_t>(asynctrace_attach_ready).store(1, std::memory_order_release);
}

__attribute__((destructor)) void destruct() {
  const Live* live = g_live.load(std::memory_order_acquire);
  if (live == nullptr || live->tracing.load(std::memory_order_acquire) == 0) return;
  if (g_detached.load(std::memory_order_relaxed)) return;
  if (is_unused()) unlink(g_segment.path());
  segment::Header& header = g_segment.header();
  std::atomic_ref<uint64_t>(header.last_event).store(now(), std::memory_order_relaxed);
  std::atomic_ref<segment::AgentState>(header.state)
      .store(segment::AgentState::kExited, std::memory_order_release);
}

}  // namespace

bool find_runtime(LoadedModule& module) {
  if (has_no_runtime(module)) return false;
  const ElfSymbols symbols(module, ElfSymbols::Wanted::kLocal);
  find_coroutines(module, symbols);
  const bool has_tables = find_tables(module, symbols);
  if (!find_hook_variables(module, symbols) && !has_tables) return false;
  module.has_own_loop.store(true, std::memory_order_relaxed);
  return true;
}

bool find_runtimes() {
  bool found = false;
  for (LoadedModule& module : modules()) {
    if (module.unloaded.load(std::memory_order_relaxed)) continue;
    found |= find_runtime(module);
    find_loop_library(module);
  }
  return found;
}

bool prepare_unwinder() {
  return load_unwinder() == nullptr;
}

bool unwinder_is_ready() {
  return g_unwinder_is_there.load(std::memory_order_acquire);
}

const char* open_segment() {
  static char reason[59];
  if (const char* why_not = load_unwinder()) return why_not;
  if (!g_segment.create(g_config)) {
    snprintf(reason, sizeof(reason), "no segment file: %s", strerrordesc_np(errno));
    return reason;
  }
  if (!start_threads() || !start_tasks() || !start_leaves() || !start_capture() || !start_labels() ||
      !start_native_tasks() || !start_watchers() || !start_plain_loops()) {
    turn_off(segment::OffReason::kNoRoom);
    return "the address space limit (ulimit -v) is too low";
  }
  publish_poll_hook();
  g_generation = 1;
  go_live();
  return nullptr;
}

void patch_program() {
  publish_modules();
  publish_pollers();
  patch_tables();
  fill_hook_variables();
  patch_loop_calls();
  patch_deletes();
}

bool start_tracing(Patching patching) {
  const char* reason = open_segment();
  if (reason == nullptr) patching == Patching::kNow ? patch_program() : publish_modules();
  report_in(g_config, reason == nullptr ? ReportStatus::kTracing : ReportStatus::kOff,
            reason == nullptr ? "" : reason);
  return reason == nullptr;
}

}  // namespace asynctrace::agent
