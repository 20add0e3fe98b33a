#include "agent/clock.hpp"

#include <time.h>

#include <atomic>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace asynctrace::agent {

bool g_tick_is_tsc = false;
uint64_t g_ticks_per_ms = 1'000'000;

namespace {

constexpr uint64_t kCalibrationNs = 20'000;
constexpr uint64_t kRefreshMs = 100;

uint64_t read_ns(clockid_t id) {
  timespec t;
  clock_gettime(id, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

bool tsc_is_invariant() {
#if defined(__x86_64__)
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) && (edx & (1u << 8)) != 0;
#else
  return false;
#endif
}

}  // namespace

uint64_t monotonic_ns() {
  return read_ns(CLOCK_MONOTONIC);
}

void start_clock(segment::Clock& clock) {
  g_tick_is_tsc = tsc_is_invariant();
  clock.kind = g_tick_is_tsc ? segment::ClockKind::kTsc : segment::ClockKind::kMonotonic;
  clock.ns0 = monotonic_ns();
  clock.ticks0 = now();
  clock.realtime0 = read_ns(CLOCK_REALTIME);
  do {
    clock.ns1 = monotonic_ns();
    clock.ticks1 = now();
  } while (clock.ns1 - clock.ns0 < kCalibrationNs);
  g_ticks_per_ms = static_cast<uint64_t>(static_cast<double>(clock.ticks1 - clock.ticks0) * 1e6 /
                                         static_cast<double>(clock.ns1 - clock.ns0));
}

void refresh_clock(segment::Clock& clock, uint64_t ticks) {
  std::atomic_ref<uint64_t> ticks1(clock.ticks1);
  if (ticks - ticks1.load(std::memory_order_relaxed) < kRefreshMs * g_ticks_per_ms) return;
  std::atomic_ref<uint32_t> seq(clock.seq);
  uint32_t before = seq.load(std::memory_order_relaxed);
  if ((before & 1) != 0 || !seq.compare_exchange_strong(before, before + 1, std::memory_order_acquire))
    return;
  std::atomic_ref<uint64_t>(clock.ns1).store(monotonic_ns(), std::memory_order_relaxed);
  ticks1.store(now(), std::memory_order_relaxed);
  seq.store(before + 2, std::memory_order_release);  // read by SegmentReader::clock()
}

}  // namespace asynctrace::agent
