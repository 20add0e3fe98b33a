// GitHub Actions: workflow commands, which its runner takes from either output stream of a job's step and
// shows as annotations at the source line. It shows ten of each kind for a step, and 4096 characters of a
// message.
#pragma once

#include <ostream>

#include "cli/render/run_report.hpp"

namespace asynctrace {

// "::error file=..,line=..,col=..,title=..::.." for suspects, "::warning .." for what waits, ten of each at
// most, most telling first. Where no source line is known the command has none.
void render_github(const RunReport& run, std::ostream& out);

}  // namespace asynctrace
