// Brings the agent into a running process and has it begin, or end, to trace. The other threads of the
// process run on; one is held for some milliseconds. Every failure leaves the process as it was.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "cli/attach/refusals.hpp"
#include "cli/error.hpp"
#include "common/loop_hooks.hpp"

namespace asynctrace {

struct AttachSettings {
  std::string library = {};    // absolute path of the agent
  std::string directory = {};  // for the segment file, absolute; "": the agent chooses
  uint64_t max_size = 0;       // of it, bytes
  bool force = false;          // in spite of a seccomp filter
  std::string hook_rows = {};  // of common/loop_hooks.hpp; "": none
  std::chrono::nanoseconds patience = std::chrono::seconds(5);
};

struct Attached {
  std::chrono::nanoseconds held{};  // for how long the thread was
  pid_t tid = 0;                    // which
  std::vector<HookState> hooks{};   // of each row
};

Result<Attached> attach_process(const PinnedProcess& process, const AttachSettings& settings);
// Of the settings patience and force count.
Result<Attached> detach_process(const PinnedProcess& process, const AttachSettings& settings);

}  // namespace asynctrace
