#include <sys/stat.h>
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include <fmt/format.h>

#include "cli/commands/commands.hpp"
#include "cli/commands/messages.hpp"
#include "cli/process/proc.hpp"
#include "cli/process/traced_process.hpp"
#include "cli/render/duration.hpp"
#include "cli/render/escape.hpp"

namespace asynctrace {
namespace {

const char* name(Life life) {
  switch (life) {
    case Life::kRunning: return "running";
    case Life::kExeced: return "exec'ed";
    case Life::kExited: return "exited";
    case Life::kUntraced: return "untraced";
    case Life::kCore:
    case Life::kEnded: break;
  }
  return "ended";
}

// How long ago it started; start times of another boot cannot be compared.
std::string age(const SegmentSummary& summary) {
  if (summary.boot_id != boot_id()) return "-";
  auto seconds = age_seconds(summary.start_time);
  return seconds ? format_duration(static_cast<uint64_t>(*seconds * 1e9)) : "-";
}

void print_table(const std::vector<TracedProcess>& processes) {
  fmt::print("{:>8}  {:<8} {:>8}  {:<16} {}\n", "PID", "STATE", "AGE", "PROGRAM", "FILE");
  for (const TracedProcess& process : processes) {
    std::string program = std::filesystem::path(process.summary.exe).filename().string();
    fmt::print("{:>8}  {:<8} {:>8}  {:<16} {}\n", process.pid, name(process.life), age(process.summary),
               escape(program), escape(process.shown_path));
  }
}

int64_t changed_at(const TracedProcess& process) {
  struct stat info {};
  if (::stat(process.open_path.c_str(), &info) != 0) return 0;
  return info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec;
}

Result<int> prune(std::vector<TracedProcess> processes, uint64_t keep) {
  std::erase_if(processes, [](const TracedProcess& process) { return process.life == Life::kRunning; });
  std::stable_sort(processes.begin(), processes.end(),
                   [](const auto& a, const auto& b) { return changed_at(a) > changed_at(b); });
  size_t removed = 0;
  for (size_t i = keep; i < processes.size(); i++) {
    std::error_code error;
    if (std::filesystem::remove(processes[i].open_path, error)) removed++;
    if (error) return fail(fmt::format("{}: {}", processes[i].open_path, error.message()));
  }
  print_message(fmt::format("removed {} of {} files of processes that are gone", removed, processes.size()));
  return 0;
}

}  // namespace

Result<int> ps_command(const PsOptions& options) {
  std::vector<Error> unreadable;
  std::vector<TracedProcess> processes = list_traced(unreadable);
  for (const Error& error : unreadable) print_error(error);
  if (options.prune) return prune(std::move(processes), options.keep);
  print_table(processes);
  if (std::fflush(stdout) != 0) return fail("stdout: the table could not be written");
  return 0;
}

}  // namespace asynctrace
