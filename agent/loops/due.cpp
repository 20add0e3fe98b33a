// By when a watcher is to be called, as the functions that arm it are told. Libraries count from a time that
// they have read earlier in the same turn of the loop: what is told here is the latest moment.
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include <algorithm>
#include <bit>

#include "agent/loops/call.hpp"
#include "common/include/asynctrace/abi.h"

namespace asynctrace::agent {
namespace {

using segment::DueClock;
using segment::kNeverDue;

constexpr uint64_t kDefaultSlack = 250'000;  // of sd-event, microseconds
constexpr uint64_t kSlackUnit = 250'000;     // of WatcherFacts::due_memory, above the clock
constexpr uint32_t kClockBits = 4;
constexpr uint64_t kMaxSlack = 0xfff;

Due since_armed(uint64_t first, uint64_t again) {
  return {DueClock::kSinceArmed, std::min<uint64_t>(first, kNeverDue) |
                                     (again == 0 ? uint64_t{kNeverDue} : std::min<uint64_t>(again, kNeverDue))
                                         << 32};
}

uint64_t milliseconds(double seconds) {
  if (!(seconds > 0)) return 0;
  return seconds < kNeverDue / 1000 ? static_cast<uint64_t>(seconds * 1000) + 1 : kNeverDue;
}

uint64_t milliseconds(const timeval& time) {
  // libevent keeps a mark above the microseconds of some.
  constexpr uint64_t kMicroseconds = 0xfffff;
  const uint64_t microseconds = static_cast<uint64_t>(time.tv_usec) & kMicroseconds;
  if (time.tv_sec < 0 || time.tv_sec >= kNeverDue / 1000) return kNeverDue;
  return static_cast<uint64_t>(time.tv_sec) * 1000 + microseconds / 1000 + 1;
}

DueClock clock_of(uint64_t id) {
  switch (static_cast<int32_t>(id)) {
    case CLOCK_MONOTONIC: return DueClock::kMonotonic;
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_ALARM: return DueClock::kRealtime;
    case CLOCK_BOOTTIME:
    case CLOCK_BOOTTIME_ALARM: return DueClock::kBoottime;
    default: return DueClock::kNone;
  }
}

uint64_t microseconds_of(DueClock clock) {
  const clockid_t id = clock == DueClock::kMonotonic  ? CLOCK_MONOTONIC
                       : clock == DueClock::kRealtime ? CLOCK_REALTIME
                                                      : CLOCK_BOOTTIME;
  timespec time;
  clock_gettime(id, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000 + static_cast<uint64_t>(time.tv_nsec) / 1000 + 1;
}

uint16_t remembered(DueClock clock, uint64_t slack) {
  const uint64_t units = slack / kSlackUnit + (slack % kSlackUnit != 0 ? 1 : 0);
  return clock == DueClock::kNone || units > kMaxSlack
             ? uint16_t{0}
             : static_cast<uint16_t>(static_cast<uint64_t>(clock) | units << kClockBits);
}

Due on_clock(uint16_t memory, uint64_t time, bool from_now) {
  const auto clock = static_cast<DueClock>(memory & ((1u << kClockBits) - 1));
  if (clock == DueClock::kNone) return {};
  uint64_t due = (memory >> kClockBits) * kSlackUnit;
  if (from_now) due += microseconds_of(clock);
  return __builtin_add_overflow(due, time, &due) ? Due{} : Due{clock, due};
}

}  // namespace

Due Call::due(const WatcherEntry& entry) {
  const DueColumn& column = row().due;
  const uint64_t time = column.time != kAbsent ? word(column.time) : 0;
  switch (column.unit) {
    case DueUnit::kMilliseconds: return since_armed(time, 0);
    case DueUnit::kMilliseconds32: {
      const auto ms = static_cast<uint32_t>(time);
      return since_armed(ms, ms);
    }
    case DueUnit::kSeconds32: {
      const uint64_t ms = (uint64_t{static_cast<uint32_t>(time)} + 1) * 1000;
      return since_armed(ms, ms);
    }
    case DueUnit::kSeconds: {
      return since_armed(milliseconds(std::bit_cast<double>(time)), 0);
    }
    case DueUnit::kTimeval: {
      timeval value;
      memcpy(&value, reinterpret_cast<const void*>(time), sizeof(value));
      return since_armed(milliseconds(value), milliseconds(value));
    }
    case DueUnit::kMicroseconds:
    case DueUnit::kSameClock: return on_clock(entry.facts.due_memory, time, false);
    case DueUnit::kMicrosecondsFromNow:
    case DueUnit::kSameClockFromNow: return on_clock(entry.facts.due_memory, time, true);
    case DueUnit::kReadyTime: {
      // A timer of the library itself has an interval that holds again afterwards; of others it is not seen
      // whether they were called.
      const bool is_plain = entry.facts.leaf_class != ASYNCTRACE_TIMER && !entry.is_source;
      const bool is_told = static_cast<int64_t>(time) >= 0 && is_plain;
      return is_told ? Due{DueClock::kMonotonic, time} : Due{};
    }
    case DueUnit::kNotTold:
    case DueUnit::kForgotten: break;
  }
  return {};
}

uint32_t interval_of(const WatcherEntry& entry) {
  const size_t offset = size_t{8} * (entry.facts.again_at & ~kAgainInSeconds);
  uint64_t interval = 0;
  if (entry.address != 0)
    memcpy(&interval, reinterpret_cast<const void*>(entry.address + offset), sizeof(interval));
  if ((entry.facts.again_at & kAgainInSeconds) != 0) interval = milliseconds(std::bit_cast<double>(interval));
  return interval == 0 ? kNeverDue : static_cast<uint32_t>(std::min<uint64_t>(interval, kNeverDue));
}

void Call::tell_due(uint32_t number) {
  const DueColumn& column = row().due;
  if (column.unit == DueUnit::kNotTold) return;
  WatcherEntry& entry = watcher_entry(number);
  if (column.unit == DueUnit::kTimeval && word(column.time) == 0) {
    if (entry.leaf.load(std::memory_order_relaxed) == kNone) set_due(number, {});
    return;
  }
  if (column.clock != kAbsent) {
    const uint64_t slack = word(column.slack);
    entry.facts.due_memory = remembered(clock_of(word(column.clock)), slack != 0 ? slack : kDefaultSlack);
  }
  if (column.unit == DueUnit::kForgotten) entry.facts.due_memory = 0;
  set_due(number, due(entry));
}

}  // namespace asynctrace::agent
