#include "cli/due.hpp"

#include <algorithm>

namespace asynctrace {
namespace {

constexpr uint64_t kMaxNs = uint64_t{1} << 62;  // of a damaged file or clock

std::optional<uint64_t> clock_of(segment::DueClock clock, const EndOfTime& end) {
  switch (clock) {
    case segment::DueClock::kMonotonic: return end.monotonic_ns;
    case segment::DueClock::kRealtime: return end.realtime_ns;
    case segment::DueClock::kBoottime: return end.boottime_ns;
    default: return {};
  }
}

}  // namespace

std::optional<int64_t> due_in_ns(const segment::Watcher& watcher, uint64_t waiting_ns, bool is_first_wait,
                                 const EndOfTime& end) {
  const auto waiting = static_cast<int64_t>(std::min(waiting_ns, kMaxNs));
  if (watcher.due_clock == segment::DueClock::kSinceArmed) {
    const auto ms = static_cast<uint32_t>(is_first_wait ? watcher.due : watcher.due >> 32);
    if (ms == segment::kNeverDue) return {};
    return int64_t{ms} * 1'000'000 - waiting;
  }
  const auto now = clock_of(watcher.due_clock, end);
  if (!now || *now > kMaxNs || watcher.due > kMaxNs / 1000) return {};
  // One whose time had come before it was armed is late since then.
  return std::max(static_cast<int64_t>(watcher.due * 1000) - static_cast<int64_t>(*now), -waiting);
}

}  // namespace asynctrace
