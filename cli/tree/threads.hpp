// The threads of a core file with their native stacks.
#pragma once

#include "cli/tree/report.hpp"
#include "cli/tree/stack_table.hpp"

namespace asynctrace {

// Fills report.threads and report.thread_stacks; nothing of a process that the agent has seen, whose tasks
// tell more.
void add_threads(Report& report, StackTable& stacks, const ReportOptions& options);

}  // namespace asynctrace
