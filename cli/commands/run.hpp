// Run: one run of a command, from its start to the exit code: dumps when it is asked for, hangs, is stopped
// or dies; reports; the files that stay.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cli/commands/dump_output.hpp"
#include "cli/commands/hang_watch.hpp"
#include "cli/commands/options.hpp"
#include "cli/commands/report_output.hpp"
#include "cli/error.hpp"
#include "cli/process/report_in.hpp"
#include "cli/process/run_segments.hpp"
#include "cli/process/supervisor.hpp"

namespace asynctrace {

class Run {
 public:
  Run(const RunOptions& options, RunSegments segments, ReportIn report_in, DumpOutput dumps,
      ReportOutput reports)
      : options_(options),
        segments_(std::move(segments)),
        report_in_(std::move(report_in)),
        dumps_(std::move(dumps)),
        reports_(std::move(reports)) {}

  // The exit code of `run`.
  Result<int> execute(const Launch& launch);

 private:
  void announce(pid_t pid) const;
  void supervise();
  void dump(const std::string& reason);
  void end_tree(const std::string& reason, const std::string& ending);
  bool look_for_hangs();
  void tell_lost();
  void tell_end(const TracedProcess& process);
  bool is_said_by_report() const { return options_.dump_file.empty() && reports_.shows_text_on_stderr(); }
  void write_dump(const ProcessReport& report);
  std::string why_nothing_to_dump() const;
  Result<int> finish();
  void name_files(const std::vector<TracedProcess>& kept) const;
  RunOutcome outcome() const;
  void write_reports(const RunOutcome& outcome);

  const RunOptions& options_;  // outlives this
  RunSegments segments_;
  ReportIn report_in_;
  DumpOutput dumps_;
  ReportOutput reports_;
  RepeatedReports processes_;
  Supervisor supervisor_;
  std::optional<HangWatch> hangs_;
  std::set<std::string> told_;  // files of processes that were shown
  bool timed_out_ = false;
};

}  // namespace asynctrace
