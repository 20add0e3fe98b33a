// Which process a verb reads: what its arguments name.
#pragma once

#include <string>
#include <string_view>

#include "cli/error.hpp"
#include "cli/process/traced_process.hpp"

namespace asynctrace {

// `text` is a pid or the path of a segment or core file.
Result<TracedProcess> find_target(const std::string& text);

// For a verb without an argument. Where several live it lists them on stderr and fails.
Result<TracedProcess> only_live_one(std::string_view verb);

// A target that shares its cores with us must not wait because it is looked at: this halves the longest gap
// that a busy timer sees (scripts/bench dump).
void give_way();

}  // namespace asynctrace
