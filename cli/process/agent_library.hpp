// Where the agent library is. Reads the file system only.
#pragma once

#include <string>

#include "cli/error.hpp"

namespace asynctrace {

// Absolute path of libasynctrace-agent.so: $ASYNCTRACE_AGENT, else beside this executable as installed
// (../lib*/asynctrace, ../lib/<arch>-linux-gnu/asynctrace), else as in a build tree (../agent). The error
// says where it looked. A path that LD_PRELOAD cannot carry (it splits at spaces and colons) is an error as
// well.
Result<std::string> find_agent_library();

// The same for a CLI that lives in `executable_dir`.
Result<std::string> find_agent_library(const std::string& executable_dir, const char* override_path);

}  // namespace asynctrace
