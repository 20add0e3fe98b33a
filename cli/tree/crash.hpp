// The crash in the report: its stack, from the root of the task that crashed on, and how it is drawn.
#pragma once

#include "cli/tree/report.hpp"
#include "cli/tree/stack_table.hpp"

namespace asynctrace {

// Where the snapshot has one; the report's tasks must be there.
void add_crash(Report& report, StackTable& stacks, const ReportOptions& options);

}  // namespace asynctrace
