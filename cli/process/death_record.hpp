// What `run` notes in the segment of a dead process, for later readers: when and how it ended, and the native
// stack of a crash. Where that is not possible the segment stays as it is: it then says `at least` of its
// durations, and `state unknown`.
#pragma once

#include <string>

#include "cli/process/ended_processes.hpp"

namespace asynctrace {

void record_death(const std::string& path, const Ended& ended);

}  // namespace asynctrace
