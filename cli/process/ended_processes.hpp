// How and when processes ended, as far as that was seen.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>
#include <sys/wait.h>
#include <csignal>

#include "common/segment.hpp"

namespace asynctrace {

// The thread that a signal killed its process in, or why it is not known.
struct CrashedThread {
  segment::CrashSource source = segment::CrashSource::kNone;
  int signal = 0;
  pid_t tid = 0;              // 0: not known
  std::vector<uint64_t> pcs;  // as in cli/native/native_stack.hpp
};

struct Ended {
  int status = 0;      // of waitpid(2)
  uint64_t at_ns = 0;  // CLOCK_MONOTONIC
  std::optional<CrashedThread> crash = {};
  std::string directory = {};  // where it was when it was last seen alive; "" where that is not known
};
inline bool is_killed(int status) {
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}
using EndedProcesses = std::map<pid_t, Ended>;

}  // namespace asynctrace
