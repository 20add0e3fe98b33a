#include "cli/commands/process_report.hpp"

#include <cstdlib>
#include <filesystem>

#include "cli/census/census.hpp"
#include "cli/commands/blocked_stacks.hpp"
#include "cli/commands/census_report.hpp"
#include "cli/commands/descriptor_facts.hpp"
#include "cli/commands/own_epolls.hpp"
#include "cli/commands/watcher_memory.hpp"
#include "cli/coroutines/asio_tracked.hpp"
#include "cli/process/repoll.hpp"
#include "cli/read_snapshot.hpp"
#include "cli/tick_rate.hpp"

namespace asynctrace {
namespace fs = std::filesystem;

ProcessState state_of(Life life) {
  switch (life) {
    case Life::kRunning:
    case Life::kUntraced: return ProcessState::kRunning;
    case Life::kExeced: return ProcessState::kExeced;
    case Life::kExited: return ProcessState::kExited;
    case Life::kCore:
    case Life::kEnded: break;
  }
  return ProcessState::kUnknown;
}

namespace {

// Of the checkout: what the CI system says, else the directory with .git around the working directory, else
// that directory itself.
std::string source_root() {
  std::error_code error;
  for (const char* variable : {"GITHUB_WORKSPACE", "CI_PROJECT_DIR"}) {
    const char* value = std::getenv(variable);
    if (value == nullptr || *value != '/' || !fs::is_directory(value, error)) continue;
    return fs::weakly_canonical(value, error).string();
  }
  const fs::path working = fs::current_path(error);
  for (fs::path directory = working; directory.has_relative_path(); directory = directory.parent_path()) {
    if (fs::exists(directory / ".git", error)) return directory.string();
  }
  return working.string();
}

}  // namespace

Result<OwnedReport> read_report(const TracedProcess& process, const ReadingOptions& options,
                                std::string reason) {
  ReadOptions reading{.state = state_of(process.life),
                      .pid = static_cast<uint32_t>(process.pid),
                      .causes = options.report.causes};
  std::optional<RepollRequest> repoll;  // its answer is there as long as it is
  if (options.repoll) {
    auto asked = RepollRequest::ask(process);
    if (!asked) return tl::unexpected(asked.error());
    reading.repoll = asked->answer();
    repoll.emplace(std::move(*asked));
  }
  if (process.life == Life::kUntraced) return read_census_report(process, options, std::move(reason));
  if (process.life == Life::kCore) return read_core_report(process, options);
  auto snapshot = read_snapshot(process.open_path, reading);
  repoll.reset();
  if (!snapshot) return tl::unexpected(snapshot.error());
  const ProcessMemory memory(process.pid);
  const bool lives = process.life == Life::kRunning;
  if (lives) look_at_watchers(memory, *snapshot);
  auto symbols = Symbolizer::open(*snapshot, options.symbols);
  if (!symbols) return tl::unexpected(symbols.error());
  compare_with_epolls(process, *snapshot, **symbols);
  const auto descriptors = add_descriptors(process, *snapshot);
  if (process.life != Life::kRunning && reason == "request") reason = "post-mortem";
  auto result = std::make_unique<ProcessReport>(std::move(*snapshot), std::move(*symbols), std::move(reason));
  const uint64_t read = clock_ns(CLOCK_MONOTONIC);
  CensusScope scope = add_unseen_tasks(process, options.report.may_stop, *result);
  name_tracked_operations(result->snapshot, *result->symbols);
  result->snapshot.capture_ns += clock_ns(CLOCK_MONOTONIC) - read;
  read_blocked_stacks(process, options.report, *result);
  add_unserved(process, descriptors, result->snapshot);
  result->report = build_report(result->snapshot, *result->symbols, options.report);
  if (take_census(result->report, result->snapshot, *result->symbols, lives ? &memory : nullptr,
                  std::move(scope)))
    result->report = build_report(result->snapshot, *result->symbols, options.report);
  return result;
}

Result<OwnedReport> RepeatedReports::read(const TracedProcess& process, ReadingOptions options,
                                          std::string reason) {
  const auto known = earlier_.find(process.summary.pid);
  if (known != earlier_.end()) options.report.earlier = &known->second;
  auto report = read_report(process, options, std::move(reason));
  if (report) earlier_[process.summary.pid] = remember((*report)->snapshot);
  return report;
}

ReadingOptions report_options(const DumpForm& form) {
  ReadingOptions options;
  options.symbols = form.symbols;
  options.executable = form.executable;
  options.report.frames = form.frames;
  options.report.sources = {form.source_prefixes, source_root()};
  options.report.blocked_ns = static_cast<uint64_t>(form.blocked.count());
  options.report.may_stop = form.may_stop;
  options.report.causes = form.causes;
  options.repoll = form.repoll;
  return options;
}

}  // namespace asynctrace
