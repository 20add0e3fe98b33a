// Native stacks of threads that are blocked in one poll, read from the living process.
#pragma once

#include <optional>

#include "cli/commands/process_report.hpp"

namespace asynctrace {

// The thread that the process itself knows as `tid`, as we see it; nothing where it has ended.
std::optional<pid_t> thread_as_seen(const TracedProcess& process, uint32_t tid);

// Gives the blocked threads of `read`'s snapshot their native stacks, or the reason why there is none.
void read_blocked_stacks(const TracedProcess& process, const ReportOptions& options, ProcessReport& read);

}  // namespace asynctrace
