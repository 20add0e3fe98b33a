// RunReport: how a run ended and what its processes waited for, as the reports for CI systems need it, and
// what these have in common.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/tree/findings.hpp"
#include "cli/tree/report.hpp"

namespace asynctrace {

struct RunReport {
  std::string command;  // as a shell would take it; printable
  std::string outcome;  // what became of it: "ran into the time-out of 2s"
  bool ended_well = false;
  uint64_t elapsed_ns = 0;
  std::vector<const Report*> processes;  // most suspicious first
  std::string remark;                    // why there is none; may be empty
  bool stopped = false;                  // it did not end by itself: a time-out, a hang, a signal
};

// Equal findings of several processes (a test binary each, a worker each), merged.
struct MergedFinding {
  Finding finding;  // of the first process
  const Report* report = nullptr;
  size_t tasks = 0, processes = 0;
};
// All suspects, then what waits, each in the order of the processes.
std::vector<MergedFinding> merge_findings(const RunReport& run);

// Where it is: path relative to the root of the sources, line and column; file "" if it is elsewhere or
// unknown, line and column 0 if unknown.
struct SourceLine {
  std::string file;
  uint32_t line = 0, column = 0;
};
SourceLine source_line(const Finding& finding, const Report& report);

// "async fn shop::checkout at src/cart.rs:88:14", or as much of it as is known, or else the evidence;
// escaped.
std::string where(const Finding& finding, const Report& report);

// "3 tasks of shop: waiting for mpsc recv, 31.0s..31.2s"; escaped.
std::string sentence(const MergedFinding& merged);

// Every process as text, at most `limit` bytes of it, whole lines.
std::string render_processes(const RunReport& run, size_t limit);

}  // namespace asynctrace
