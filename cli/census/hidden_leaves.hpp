// Leaves that the agent could not see: of tasks without any, and below combinators whose children are not
// observable. Walked twice; what changes in between, or cannot be followed, is left unknown. Allocates.
#pragma once

#include <vector>

#include "cli/census/dwarf_types.hpp"
#include "cli/census/memory.hpp"
#include "cli/snapshot.hpp"
#include "cli/symbols/symbolizer.hpp"
#include "cli/tree/report.hpp"

namespace asynctrace {

std::vector<const ReportTask*> tasks_with_hidden_leaves(const Report& report);

// Adds the leaves and their stacks to `snapshot`, whose report `report` is, and the frames to `symbols`.
bool add_hidden_leaves(const std::vector<const ReportTask*>& tasks, const Report& report, DwarfTypes& types,
                       const Memory& memory, Snapshot& snapshot, Symbolizer& symbols);

}  // namespace asynctrace
