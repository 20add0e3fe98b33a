#include "cli/commands/report_output.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <tuple>

#include <fmt/format.h>

#include "cli/commands/messages.hpp"
#include "cli/commands/version.hpp"
#include "cli/render/github.hpp"
#include "cli/render/json.hpp"
#include "cli/render/junit.hpp"
#include "cli/render/markdown.hpp"
#include "cli/render/run_report.hpp"

namespace asynctrace {
namespace {

constexpr size_t kSummaryLimit = 1'000'000;  // bytes of $GITHUB_STEP_SUMMARY; GitHub drops one above 1 MiB
constexpr int kOwnFailure = 125;

Result<void> write_all(int fd, std::string_view text, const std::string& name) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0)
      return fail(fmt::format("{}: the report could not be written: {}", name, std::strerror(errno)));
    text.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

// A crash first, then suspects, then what waits inside, the longest first.
auto suspicion(const Report& report) {
  uint64_t longest = 0;
  for (const Group& group : report.groups) {
    if (group.group_class == GroupClass::kInside) longest = std::max(longest, group.waiting.max_ns);
  }
  return std::tuple(report.crash.has_value(), !report.suspects.empty(), report.counts.inside > 0, longest);
}

std::string render_text_report(const RunReport& run) {
  return fmt::format("asynctrace: {} {}\n{}\n{}", run.command, run.outcome,
                     run.remark.empty() ? "" : "asynctrace: " + run.remark + "\n",
                     render_processes(run, SIZE_MAX));
}

std::string render(ReportForm form, const RunReport& run,
                   const std::vector<const ProcessReport*>& processes) {
  std::ostringstream out;
  switch (form) {
    case ReportForm::kText: out << render_text_report(run); break;
    case ReportForm::kJson:
      for (const ProcessReport* process : processes)
        render_json(process->report, {process->reason, kToolVersion}, out);
      break;
    case ReportForm::kMarkdown: render_markdown(run, out); break;
    case ReportForm::kJunit: render_junit(run, out); break;
    case ReportForm::kGithub: render_github(run, out); break;
  }
  return std::move(out).str();
}

// After what other commands of the step have put there.
Result<void> append_summary(const RunReport& run) {
  const char* path = std::getenv("GITHUB_STEP_SUMMARY");
  if (path == nullptr || *path == '\0') return {};
  FileDescriptor file(::open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666));
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0)
    return fail(fmt::format("{}: {}", path, std::strerror(errno)), "GITHUB_STEP_SUMMARY has to name a file");
  const auto used = static_cast<size_t>(status.st_size);
  std::ostringstream page;
  render_markdown(run, page, used < kSummaryLimit ? kSummaryLimit - used : 0);
  return write_all(file.get(), page.str(), path);
}

}  // namespace

ReportOutput::ReportOutput(const RunOptions& options) {
  for (const std::string& word : options.command)
    command_ += (command_.empty() ? "" : " ") + shell_quote(word);
}

Result<ReportOutput> ReportOutput::open(const RunOptions& options) {
  ReportOutput result(options);
  std::vector<ReportTarget> wanted = options.reports;
  const char* in_github = std::getenv("GITHUB_ACTIONS");
  if (wanted.empty() && in_github != nullptr && std::string_view(in_github) == "true")
    wanted.push_back({ReportForm::kGithub, ""});
  for (const ReportTarget& target : wanted) {
    result.targets_.push_back({target.form, target.path, std::nullopt});
    if (target.path.empty()) continue;
    auto file = ReplacedFile::open(target.path);
    if (!file) {
      Error error = file.error();
      error.exit_code = kOwnFailure;
      return tl::unexpected(std::move(error));
    }
    result.targets_.back().file.emplace(std::move(*file));
  }
  return result;
}

bool ReportOutput::shows_text_on_stderr() const {
  return std::any_of(targets_.begin(), targets_.end(), [](const Target& target) {
    return target.form == ReportForm::kText && target.path.empty();
  });
}

bool ReportOutput::knows(uint32_t pid) const {
  return std::any_of(reports_.begin(), reports_.end(),
                     [&](const OwnedReport& known) { return known->snapshot.process.pid == pid; });
}

void ReportOutput::add(OwnedReport report) {
  if (!wanted()) return;
  std::erase_if(reports_, [&](const OwnedReport& known) {
    return known->snapshot.process.pid == report->snapshot.process.pid;
  });
  reports_.push_back(std::move(report));
}

Result<void> ReportOutput::write(const RunOutcome& outcome, const std::string& remark) {
  if (!wanted() || std::exchange(written_, true)) return {};
  RunReport run{command_, outcome.text, outcome.kind == RunOutcome::Kind::kWell, 0, {}, ""};
  run.elapsed_ns =
      static_cast<uint64_t>(std::chrono::nanoseconds(std::chrono::steady_clock::now() - start_).count());
  std::vector<const ProcessReport*> processes;
  for (const OwnedReport& known : reports_) {
    if (!run.ended_well && (known->report.counts.total > 0 || known->report.crash))
      processes.push_back(known.get());
  }
  std::stable_sort(processes.begin(), processes.end(), [](const ProcessReport* a, const ProcessReport* b) {
    return suspicion(a->report) > suspicion(b->report);
  });
  for (const ProcessReport* process : processes) run.processes.push_back(&process->report);
  if (processes.empty()) run.remark = remark;
  run.stopped = outcome.kind == RunOutcome::Kind::kStopped;

  const bool says_something = !processes.empty() || outcome.kind == RunOutcome::Kind::kStopped;
  Result<void> result;
  const auto keep_first = [&](const Result<void>& next) {
    if (result && !next) result = next;
  };
  for (Target& target : targets_) {
    if (!says_something && target.form != ReportForm::kJunit) {
      std::error_code ignored;
      if (target.file && std::filesystem::is_regular_file(target.path, ignored))
        std::filesystem::remove(target.path, ignored);
      continue;
    }
    const std::string text = render(target.form, run, processes);
    if (!target.file) {
      keep_first(write_all(STDERR_FILENO, text, "stderr"));
    } else {
      keep_first(write_all(target.file->descriptor(), text, target.path).and_then([&] {
        return target.file->commit();
      }));
    }
    if (target.form == ReportForm::kGithub) keep_first(append_summary(run));
  }
  return result;
}

}  // namespace asynctrace
