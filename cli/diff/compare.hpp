// What has changed between two dumps, by merged trace.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/diff/dump_traces.hpp"

namespace asynctrace {

struct DiffTrace {
  std::vector<std::string> lines;
  std::vector<uint64_t> before, after;  // task ids
  std::vector<uint64_t> unmoved;        // of those in `after`: the same task, not polled in between
};

struct Diff {
  // Only then do task ids mean the same in both.
  bool same_process = false;
  std::optional<uint64_t> between_ms;  // unknown, or the second is the older: unset
  std::vector<DiffTrace> added, gone, both;
};

Diff compare(const DumpTraces& before, const DumpTraces& after);

}  // namespace asynctrace
