// The report of a process without the agent, or of a core file: its tasks as its memory shows them.
#pragma once

#include "cli/census/census.hpp"
#include "cli/commands/process_report.hpp"

namespace asynctrace {

// `process` is of Life::kUntraced. Errors say why there is nothing to show: it may not be read, or has no
// runtime that is known.
Result<OwnedReport> read_census_report(const TracedProcess& process, const ReadingOptions& options,
                                       std::string reason);

// For a process that the agent came to late: adds the tasks that it has not seen polled yet. Without the
// right to read the memory of the process nothing is added.
CensusScope add_unseen_tasks(const TracedProcess& process, bool may_stop, ProcessReport& result);

// `process` is of Life::kCore.
Result<OwnedReport> read_core_report(const TracedProcess& process, const ReadingOptions& options);

}  // namespace asynctrace
