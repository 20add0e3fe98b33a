// How and when processes ended, as the one that reaped them knows it.
#pragma once

#include <cstdint>
#include <map>

#include <sys/types.h>

namespace asynctrace {

struct Ended {
  int status = 0;      // of waitpid(2)
  uint64_t at_ns = 0;  // CLOCK_MONOTONIC
};
using EndedProcesses = std::map<pid_t, Ended>;

}  // namespace asynctrace
