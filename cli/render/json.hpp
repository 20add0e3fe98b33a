// JSON, schema asynctrace.dump/1: one object and a newline, written piece by piece, so that memory does not
// grow with the number of tasks. The order of everything is fixed by the report.
#pragma once

#include <ostream>
#include <string>

#include "cli/tree/report.hpp"

namespace asynctrace {

struct JsonOptions {
  std::string reason = "request";  // request|after|interval|timeout|hang|crash|signal|cancel|exit|post-mortem
  std::string tool_version;
};

void render_json(const Report& report, const JsonOptions& options, std::ostream& out);

}  // namespace asynctrace
