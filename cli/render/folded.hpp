// Collapsed stacks, as flamegraph tools read them: one line per merged stack, sorted, "outermost;...;leaf
// kind COUNT". COUNT is the number of waiting tasks that wait there, so a task with two leaves counts in two
// lines; running tasks wait nowhere. Which frames there are is the report's FrameView.
#pragma once

#include <ostream>

#include "cli/tree/report.hpp"

namespace asynctrace {

// Names are escaped; a ';' in a name is \x3b.
void render_folded(const Report& report, std::ostream& out);

}  // namespace asynctrace
