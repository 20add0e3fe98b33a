// The difference between two dumps, for people and as JSON (schema asynctrace.diff/1).
#pragma once

#include <ostream>
#include <string>

#include "cli/diff/compare.hpp"

namespace asynctrace {

struct DiffInput {
  std::string name;  // as the user called it
  DumpTraces dump;
};

void render_diff(const DiffInput& before, const DiffInput& after, std::ostream& out);
void render_diff_json(const DiffInput& before, const DiffInput& after, const std::string& tool_version,
                      std::ostream& out);

}  // namespace asynctrace
