// By when a watcher is to be called, as the agent records it on each clock.
#include "cli/due.hpp"

#include <gtest/gtest.h>

namespace asynctrace {
namespace {

using segment::DueClock;

constexpr uint64_t kMs = 1'000'000, kSecond = 1000 * kMs;
constexpr EndOfTime kEnd{.monotonic_ns = 50 * kSecond, .realtime_ns = 90 * kSecond, .boottime_ns = {}};

segment::Watcher watcher(DueClock clock, uint64_t due) {
  segment::Watcher watcher{};
  watcher.due_clock = clock;
  watcher.due = due;
  return watcher;
}

std::optional<int64_t> due_in(const segment::Watcher& watcher, uint64_t waiting_ns, bool is_first = true) {
  return due_in_ns(watcher, waiting_ns, is_first, kEnd);
}

TEST(Due, CountsFromTheArmingAndThenFromEachDispatch) {
  const segment::Watcher armed = watcher(DueClock::kSinceArmed, 1500 | uint64_t{4000} << 32);
  EXPECT_EQ(due_in(armed, 500 * kMs, true), 1000 * kMs);
  EXPECT_EQ(due_in(armed, 500 * kMs, false), 3500 * kMs);
  EXPECT_EQ(due_in(armed, 2 * kSecond, true), -500 * int64_t{kMs});
}

TEST(Due, OrNever) {
  EXPECT_EQ(due_in(watcher(DueClock::kNone, 1500), 0), std::nullopt);
  const segment::Watcher once = watcher(DueClock::kSinceArmed, 7 | uint64_t{segment::kNeverDue} << 32);
  EXPECT_EQ(due_in(once, 0, true), 7 * kMs);
  EXPECT_EQ(due_in(once, 0, false), std::nullopt);
}

TEST(Due, OrAtATimeOfAClock) {
  EXPECT_EQ(due_in(watcher(DueClock::kMonotonic, 53'000'000), kSecond), 3 * kSecond);
  EXPECT_EQ(due_in(watcher(DueClock::kRealtime, 89'500'000), kSecond), -500 * int64_t{kMs});
  EXPECT_EQ(due_in(watcher(DueClock::kBoottime, 1), kSecond), std::nullopt)
      << "it is not known when that was";
}

TEST(Due, IsNotLateBeforeItWasArmed) {
  EXPECT_EQ(due_in(watcher(DueClock::kMonotonic, 1), kSecond), -int64_t{kSecond});
}

TEST(Due, OfADamagedFileIsNoNumberThatOverflows) {
  for (const uint64_t due : {uint64_t{0}, UINT64_MAX, UINT64_MAX / 1000, uint64_t{1} << 62}) {
    for (uint16_t clock = 0; clock < 8; ++clock)
      for (const uint64_t waiting : {uint64_t{0}, UINT64_MAX})
        for (const uint64_t end : {uint64_t{0}, UINT64_MAX})
          for (const bool is_first : {false, true})
            due_in_ns(watcher(static_cast<DueClock>(clock), due), waiting, is_first, {end, end, end});
  }
}

}  // namespace
}  // namespace asynctrace
