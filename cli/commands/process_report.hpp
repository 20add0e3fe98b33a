// ProcessReport: one process read and understood. Owns what its report refers to.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "cli/commands/options.hpp"
#include "cli/error.hpp"
#include "cli/process/traced_process.hpp"
#include "cli/symbols/symbolizer.hpp"
#include "cli/tree/movement.hpp"
#include "cli/tree/report.hpp"

namespace asynctrace {

ProcessState state_of(Life life);

struct ProcessReport {
  ProcessReport(Snapshot read, std::unique_ptr<Symbolizer> symbolizer, std::string why)
      : reason(std::move(why)), snapshot(std::move(read)), symbols(std::move(symbolizer)) {}
  ProcessReport(const ProcessReport&) = delete;
  ProcessReport& operator=(const ProcessReport&) = delete;

  std::string reason;  // as in the JSON contract
  Snapshot snapshot;
  std::unique_ptr<Symbolizer> symbols;
  Report report;
};
using OwnedReport = std::unique_ptr<const ProcessReport>;

// What the flags of a dump ask for.
struct ReadingOptions {
  ReportOptions report;
  SymbolOptions symbols;
  bool repoll = false;
  std::string executable;  // of a core file; "": the one that it names
};

// "request" becomes "post-mortem" for a dead process.
Result<OwnedReport> read_report(const TracedProcess& process, const ReadingOptions& options,
                                std::string reason);

// Reads processes again and again: each report tells what has not moved since the one before.
class RepeatedReports {
 public:
  Result<OwnedReport> read(const TracedProcess& process, ReadingOptions options, std::string reason);

 private:
  std::map<uint32_t, EarlierDump> earlier_;  // by pid
};

// Reads the environment and the file system for the root of the sources.
ReadingOptions report_options(const DumpForm& form);

}  // namespace asynctrace
