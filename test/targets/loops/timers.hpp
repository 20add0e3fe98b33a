// What targets of timers say: DUE callback low high, between which times of CLOCK_MONOTONIC, in nanoseconds,
// a watcher is due at the latest. Those that are due before READY are late: on_block holds the loop until the
// end of stdin.
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <algorithm>

#include "truth.hpp"

#define CALLBACK extern "C" __attribute__((noinline))

constexpr int64_t kMs = 1'000'000, kHour = 3600 * 1000 * kMs;
constexpr int64_t kRounding = 2 * kMs;  // of the record

inline int64_t now_ns() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1000 * kMs + time.tv_nsec;
}

inline int64_t g_late = 0;  // the latest time at which what is to be late is due

inline void say_due(const char* callback, int64_t low, int64_t high, int64_t timeout) {
  printf("DUE %s %ld %ld\n", callback, low, high);
  if (timeout < kHour) g_late = std::max(g_late, high);
}

template <typename Arm>
void due(const char* callback, int64_t timeout, int64_t slack, Arm arm) {
  const int64_t low = now_ns() + timeout;
  arm();
  say_due(callback, low, now_ns() + timeout + slack + kRounding, timeout);
}

// Of one that was armed again by its own callback, or by its dispatch.
inline int64_t g_again = 0;  // when its callback ran last

inline void block(int64_t again) {
  say_due("on_again", g_again + again, now_ns() + again + kRounding, again);
  while (now_ns() <= g_late) continue;
  ready();
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) continue;
  exit(0);
}
