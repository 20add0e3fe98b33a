// The directories that segment files live in, for the CLI; the rule itself is common/segment_dir's. Reads and
// creates directories.
#pragma once

#include <string>
#include <vector>

#include "cli/error.hpp"

namespace asynctrace {

// In the order of preference, existing or not. $ASYNCTRACE_DIR, made absolute, is the only one where it is
// set.
std::vector<std::string> segment_directories();

// The first of them that is ours alone and has room; made where it is missing. The error names each one with
// the reason why it will not do.
Result<std::string> choose_segment_directory();

// All *.atrace files in those that are ours, in no order.
std::vector<std::string> list_segment_files();

}  // namespace asynctrace
