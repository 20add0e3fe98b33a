// Tasks whose traces read the same, merged.
#pragma once

#include <vector>

#include "cli/tree/report.hpp"
#include "cli/tree/suspects.hpp"

namespace asynctrace {

// Fills report.groups, report.suspects, report.counts and report.folded_leaves from report.tasks and
// report.stacks. Rows are built once per distinct combination of stacks, not per task.
void build_groups(Report& report, const ReportOptions& options, std::vector<BlockedThread> blocked);

}  // namespace asynctrace
