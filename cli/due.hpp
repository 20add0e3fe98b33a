// By when the library of a poll loop is to call a watcher, from what the agent recorded. Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "common/segment.hpp"

namespace asynctrace {

// The moment that durations end at, on each clock; not known of all once the process is dead.
struct EndOfTime {
  uint64_t monotonic_ns = 0;
  std::optional<uint64_t> realtime_ns = {};
  std::optional<uint64_t> boottime_ns = {};
};

// How long until then at the latest; negative: it should have been called. `waiting_ns`: for how long it has
// waited, for the first time since it was armed or after a dispatch. Nothing: never, or not known.
std::optional<int64_t> due_in_ns(const segment::Watcher& watcher, uint64_t waiting_ns, bool is_first_wait,
                                 const EndOfTime& end);

}  // namespace asynctrace
