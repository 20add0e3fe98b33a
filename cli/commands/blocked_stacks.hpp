// Native stacks of threads that are blocked in one poll, read from the living process.
#pragma once

#include "cli/commands/process_report.hpp"

namespace asynctrace {

// Gives the blocked threads of `read`'s snapshot their native stacks, or the reason why there is none.
void read_blocked_stacks(const TracedProcess& process, const ReportOptions& options, ProcessReport& read);

}  // namespace asynctrace
