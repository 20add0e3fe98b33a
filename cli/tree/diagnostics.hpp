// What limits the answer, each with its remedy.
#pragma once

#include "cli/tree/report.hpp"

namespace asynctrace {

// Fills report.diagnostics.
void add_diagnostics(Report& report);

}  // namespace asynctrace
