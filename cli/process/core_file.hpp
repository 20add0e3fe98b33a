// The core file that the kernel wrote for a process which we have reaped: where core_pattern says, if that is
// a plain file name, and what its stack was. Reads files only.
#pragma once

#include <string>

#include <sys/types.h>

#include "cli/process/ended_processes.hpp"

namespace asynctrace {

// The names that a core file of `pid` can have, as a pattern for glob(3); "" where core files go to a
// program. `pattern` and `uses_pid`: /proc/sys/kernel/core_pattern and core_uses_pid. Relative names start in
// `directory`.
std::string core_file_glob(std::string pattern, bool uses_pid, pid_t pid, const std::string& directory);

// `status` is that of waitpid(2), `directory` where the process was when it died, as far as is known.
CrashedThread crash_from_core(pid_t pid, int status, const std::string& executable,
                              const std::string& directory);

}  // namespace asynctrace
