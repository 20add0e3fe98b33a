// Text: a report as a person reads it. Everything that comes from the target is escaped.
#pragma once

#include <ostream>

#include "cli/tree/report.hpp"

namespace asynctrace {

struct TextOptions {
  bool colour = false;  // red suspects, bold user functions, dim positions; never the only carrier of a fact
  bool all = false;     // every trace and every task id
  bool terminal = false;  // without `all`: 20 traces, the rest counted
  bool hung = false;  // taken because the program did not go on: says who waits longest if none is suspect
};

void render_text(const Report& report, const TextOptions& options, std::ostream& out);

}  // namespace asynctrace
