// ProcessReport: one process read and understood. Owns what its report refers to.
#pragma once

#include <memory>
#include <string>

#include "cli/commands/options.hpp"
#include "cli/error.hpp"
#include "cli/process/traced_process.hpp"
#include "cli/symbols/symbolizer.hpp"
#include "cli/tree/report.hpp"

namespace asynctrace {

struct ProcessReport {
  ProcessReport(Snapshot read, std::string why)
      : reason(std::move(why)), snapshot(std::move(read)), symbols(snapshot.modules) {}
  ProcessReport(const ProcessReport&) = delete;
  ProcessReport& operator=(const ProcessReport&) = delete;

  std::string reason;  // as in the JSON contract
  Snapshot snapshot;
  Symbolizer symbols;
  Report report;
};
using OwnedReport = std::unique_ptr<const ProcessReport>;

// `reason` is that of a living process; a dead one's is always "post-mortem".
Result<OwnedReport> read_report(const TracedProcess& process, const ReportOptions& options,
                                std::string reason);

// What the flags ask of a report; reads the environment and the file system for the root of the sources.
ReportOptions report_options(const DumpForm& form);

}  // namespace asynctrace
