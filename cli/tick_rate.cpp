#include "cli/tick_rate.hpp"

#include <time.h>

#include <cstring>
#include <string_view>

#include "cli/process/proc.hpp"

namespace asynctrace {
namespace {

// Between the agent's readings: an error of 50 ns in one of them then is less than 1 us in a second.
constexpr uint64_t kFarApart = 100'000'000;

struct Reading {
  uint64_t ticks, ns;
};

bool read_now([[maybe_unused]] Reading& now) {
#if defined(__x86_64__)
  now = {__builtin_ia32_rdtsc(), clock_ns(CLOCK_MONOTONIC)};
  return true;
#else
  return false;
#endif
}

bool is_loose(const segment::Header& header, bool lives) {
  const segment::Clock& clock = header.clock;
  const std::string_view boot(header.boot_id, strnlen(header.boot_id, sizeof(header.boot_id)));
  const bool is_close = clock.ns1 < clock.ns0 || clock.ns1 - clock.ns0 < kFarApart;
  return clock.kind == segment::ClockKind::kTsc && (lives || is_close) && boot == boot_id();
}

}  // namespace

uint64_t clock_ns(clockid_t id) {
  timespec t;
  clock_gettime(id, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

TickRate best_rate(const SegmentReader& reader, bool lives) {
  TickRate rate = reader.clock();
  Reading now{};
  if (is_loose(reader.header(), lives) && read_now(now) && now.ns > rate.ns0 && now.ticks > rate.ticks0)
    rate.ns_per_tick = static_cast<double>(now.ns - rate.ns0) / static_cast<double>(now.ticks - rate.ticks0);
  return rate;
}

void pin_rate(segment::Header& header) {
  Reading now{};
  if (!is_loose(header, false) || !read_now(now)) return;
  header.clock.seq = 0;
  header.clock.ticks1 = now.ticks;
  header.clock.ns1 = now.ns;
}

}  // namespace asynctrace
