// What the environment asks of the agent. Read once in the constructor; see `asynctrace env`.
#pragma once

#include <cstdint>

namespace asynctrace::agent {

struct Config {
  const char* output = nullptr;     // ASYNCTRACE_OUTPUT: file name pattern, %e exe, %p pid
  const char* directory = nullptr;  // ASYNCTRACE_DIR
  const char* run_id = nullptr;     // ASYNCTRACE_RUN_ID: becomes a part of the file name
  const char* report_in = nullptr;  // ASYNCTRACE_REPORT_IN: where the direct child of `run` says how it went
  const char* hook_rows = nullptr;  // ASYNCTRACE_HOOK_ROWS: common/loop_hooks.hpp
  uint32_t run_pid = 0;             // ASYNCTRACE_RUN_PID: who that child is
  uint64_t max_size = 512u << 20;   // ASYNCTRACE_MAX_SIZE, bytes
  uint64_t attached_at = 0;         // as in segment::Header
  bool follow = true;               // ASYNCTRACE_FOLLOW != none: children by fork and exec too
};

Config read_config();

// How the agent reports to `run`; the values are part of the protocol.
enum class ReportStatus : uint8_t { kNoRuntime = 1, kTracing = 2, kOff = 3 };
void report_in(const Config& config, ReportStatus status, const char* reason = "");

}  // namespace asynctrace::agent
