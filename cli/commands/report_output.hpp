// ReportOutput: the reports of one run (`run --report`). Collects what its processes waited for and writes
// every report that was asked for once, as soon as it is known how the run ended. Nothing is written for a
// run that ended well, but for a JUnit file, which then holds a test case that passed; reports of that name
// that an older run left are removed.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands/options.hpp"
#include "cli/commands/process_report.hpp"
#include "cli/commands/replaced_file.hpp"
#include "cli/error.hpp"

namespace asynctrace {

struct RunOutcome {
  // kFailed: by its exit status alone, which says nothing about tasks: reported only if some wait.
  enum class Kind { kWell, kFailed, kStopped } kind = Kind::kWell;
  std::string text;  // follows the command: "ran into the time-out of 2s"
};

class ReportOutput {
 public:
  // Opens all files, so that a name that cannot be written is an error (125) before anything runs. In GitHub
  // Actions its form is chosen where none is.
  static Result<ReportOutput> open(const RunOptions& options);

  bool wanted() const { return !targets_.empty(); }
  // The dump of the same moment need not go to stderr as well.
  bool shows_text_on_stderr() const;
  bool knows(uint32_t pid) const;
  // The last one of each process counts.
  void add(OwnedReport report);
  // `remark`: why there is no process to show, if there is none. Does nothing from the second call on. Told
  // once all are tried: the first error.
  Result<void> write(const RunOutcome& outcome, const std::string& remark = "");

 private:
  struct Target {
    ReportForm form;
    std::string path;  // "": stderr
    std::optional<ReplacedFile> file;
  };
  explicit ReportOutput(const RunOptions& options);

  std::string command_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::vector<Target> targets_;
  std::vector<OwnedReport> reports_;
  bool written_ = false;
};

}  // namespace asynctrace
