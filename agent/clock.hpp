// The agent's clock. now() is safe anywhere and costs a few nanoseconds where the time-stamp counter is
// invariant; elsewhere it is CLOCK_MONOTONIC.
#pragma once

#include <cstdint>

#include "common/segment.hpp"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace asynctrace::agent {

extern bool g_tick_is_tsc;

uint64_t monotonic_ns();

inline uint64_t now() {
#if defined(__x86_64__)
  if (g_tick_is_tsc) [[likely]]
    return __rdtsc();
#endif
  return monotonic_ns();
}

// In ticks, about. Set by start_clock().
extern uint64_t g_ticks_per_ms;

// Decides which clock it is and fills in the first pair of readings and a rough second one. Spins for some
// microseconds. Call once, before the first now().
void start_clock(segment::Clock& clock);

// Takes a new second reading when the last one is older than 100 ms, so that a reader can convert ticks of a
// dead process. For the poll-loop hook: may call clock_gettime.
void refresh_clock(segment::Clock& clock, uint64_t ticks);

}  // namespace asynctrace::agent
