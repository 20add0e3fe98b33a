// read_snapshot: segment file -> Snapshot (hook -> capture -> segment | snapshot -> symbolize -> tree ->
// render). Reads live and dead files alike; never writes, needs no ptrace. Blocks only for file reads.
#pragma once

#include <cstdint>
#include <optional>
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
  bool exited = false;    // the process said so itself
  bool detached = false;  // the agent is no longer tracing, by `asynctrace detach`
  bool crashed = false;   // by what it or `run` recorded; of a dead process
  bool aborted = false;   // in a call of abort() that it recorded; of a dead process
};
Result<SegmentSummary> read_summary(const std::string& path);

struct ReadOptions {
  // What the caller knows of the process. Anything but kRunning counts as dead.
  ProcessState state = ProcessState::kUnknown;
  // Of a running process, as we see it; 0: not known. Its threads that have ended are left out.
  uint32_t pid = 0;
  // An answer lies in the segment. Its leaves are left out else.
  std::optional<Repoll> repoll = {};
  bool causes = false;  // Watcher::causes
};

// `path` may be any path that opens, /proc/PID/map_files/... included.
Result<Snapshot> read_snapshot(const std::string& path, const ReadOptions& options = {});

}  // namespace asynctrace
