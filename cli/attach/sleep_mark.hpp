// SleepMark: since when a thread sleeps, as the kernel's scheduler tells it in /proc/PID/task/TID/sched.
// Taken before the thread is stopped and once more when it is: how long it slept in between, and not a moment
// more.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace asynctrace {

struct SleepMark {
  uint64_t last_ran_ns = 0;  // on its processor's clock, which others need not share
  uint64_t ran_ns = 0;       // in all
  uint64_t sleeps = 0;       // how often it has gone to sleep
  int processor = -1;

  // Nothing: the kernel does not tell.
  static std::optional<SleepMark> read(pid_t pid, pid_t tid);
};

// Of the two files' texts.
std::optional<SleepMark> parse_sleep_mark(std::string_view sched, std::string_view stat);

// How long the thread slept before it was stopped, by marks before and after; 0 where it ran meanwhile, or
// where that cannot be told.
std::chrono::nanoseconds time_asleep(const SleepMark& before, const SleepMark& stopped);

}  // namespace asynctrace
