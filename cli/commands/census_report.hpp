// The report of a process without the agent: its tasks as its memory shows them.
#pragma once

#include "cli/commands/process_report.hpp"

namespace asynctrace {

// `process` is of Life::kUntraced. Errors say why there is nothing to show: it may not be read, or has no
// runtime that is known.
Result<OwnedReport> read_census_report(const TracedProcess& process, const ReadingOptions& options,
                                       std::string reason);

}  // namespace asynctrace
