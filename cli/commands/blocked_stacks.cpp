#include "cli/commands/blocked_stacks.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include <fmt/format.h>

#include "cli/native/thread_image.hpp"
#include "cli/process/proc.hpp"
#include "cli/tree/suspects.hpp"

namespace asynctrace {

std::optional<pid_t> thread_as_seen(const TracedProcess& process, uint32_t tid) {
  if (process.summary.pid == static_cast<uint32_t>(process.pid)) return static_cast<pid_t>(tid);
  std::error_code error;
  const std::string directory = fmt::format("/proc/{}/task", process.pid);
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    pid_t seen = 0;
    std::from_chars(name.data(), name.data() + name.size(), seen);
    if (namespaced_pids(seen).back() == tid) return seen;
  }
  return std::nullopt;
}

namespace {

Result<Stack> read_stack(const TracedProcess& process, const ReportOptions& options, Thread& thread) {
  if (process.life != Life::kRunning) return fail("the process has ended");
  const auto tid = thread_as_seen(process, thread.tid);
  if (!tid) return fail("the thread has ended");
  const auto image = copy_thread(process.pid, *tid, options.may_stop);
  if (!image) return tl::unexpected(image.error());
  thread.stopped_ns = image->stopped_ns;
  auto pcs = native_stack_of_image(process.pid, *tid, *image);
  if (!pcs) return tl::unexpected(pcs.error());
  return Stack{std::move(*pcs), false, false, false};
}

}  // namespace

void read_blocked_stacks(const TracedProcess& process, const ReportOptions& options, ProcessReport& read) {
  Snapshot& snapshot = read.snapshot;
  for (const BlockedThread& blocked : blocked_threads(snapshot, *read.symbols, options.blocked_ns)) {
    Thread& thread = snapshot.threads[blocked.thread];
    auto stack = read_stack(process, options, thread);
    if (!stack) {
      thread.no_native_stack = stack.error().message;
      continue;
    }
    thread.native_stack = static_cast<uint32_t>(snapshot.stacks.size());
    snapshot.stacks.push_back(std::move(*stack));
  }
}

}  // namespace asynctrace
