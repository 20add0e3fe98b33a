// Can the agent enter this program? Decided before it starts, from its file alone: each refusal has its
// reason and its remedy. Reads files only.
#pragma once

#include <string>

#include "cli/error.hpp"

namespace asynctrace {

// The file that execvp would start for `command`: itself where it has a slash, else the first one in $PATH.
// Errors as env(1): 127 not found, 126 found but not executable.
Result<std::string> find_command(const std::string& command);

// Refuses (125) what LD_PRELOAD cannot enter: static and static-pie programs, another architecture or C
// library, set-id and capability-carrying files (unless their ids change nothing), programs whose gcc
// AddressSanitizer insists on being first, and scripts whose interpreter is one of these (followed as far as
// the kernel does).
Result<void> check_target(const std::string& path);

}  // namespace asynctrace
