// Which tasks have moved between two dumps of one process. Polls are counted, so a task that was polled and
// waits at the same place again has moved.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "cli/tree/report.hpp"

namespace asynctrace {

// What an earlier dump knew.
struct EarlierDump {
  struct Seen {
    uint64_t address = 0, polls = 0;
  };
  uint32_t pid = 0;
  std::string exe;
  int64_t start_realtime_ns = 0, captured_realtime_ns = 0;
  std::unordered_map<uint64_t, Seen> tasks;  // by id
};
EarlierDump remember(const Snapshot& snapshot);

// Marks the report's tasks and groups. Nothing is known where `earlier` is of another process, or of another
// program in the same process.
void mark_unmoved(Report& report, const EarlierDump& earlier);

}  // namespace asynctrace
