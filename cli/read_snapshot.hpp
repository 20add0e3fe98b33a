// read_snapshot: segment file -> Snapshot. Reads live and dead files alike; never writes, needs no ptrace.
// Blocks only for file reads.
#pragma once

#include <cstdint>
#include <string>

#include "cli/error.hpp"
#include "cli/snapshot.hpp"

namespace asynctrace {

// The few facts of a segment's header that listing and discovery need.
struct SegmentSummary {
  uint32_t pid = 0;
  uint64_t start_time = 0;  // field 22 of /proc/PID/stat
  std::string boot_id;
  std::string exe;
  std::vector<std::string> cmdline;
  int64_t start_realtime_ns = 0;
  bool exited = false;  // the process said so itself
};
Result<SegmentSummary> read_summary(const std::string& path);

struct ReadOptions {
  // What the caller knows of the process; kUnknown: decided from the header and /proc.
  ProcessState state = ProcessState::kUnknown;
  // CLOCK_MONOTONIC of its death where the caller saw it, 0: unknown.
  uint64_t died_at_ns = 0;
};

// `path` may be any path that opens, /proc/PID/map_files/... included.
Result<Snapshot> read_snapshot(const std::string& path, const ReadOptions& options = {});

}  // namespace asynctrace
