#include <systemd/sd-event.h>

#include "timers.hpp"

namespace {

sd_event* g_event;
constexpr uint64_t kAnHour = 3'600'000'000;
constexpr int64_t kSlack = 250 * kMs;  // the least that is recorded

uint64_t after(clockid_t clock, uint64_t microseconds) {
  timespec time;
  clock_gettime(clock, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000 + static_cast<uint64_t>(time.tv_nsec) / 1000 +
         microseconds;
}

sd_event_source* add(clockid_t clock, uint64_t microseconds, uint64_t accuracy,
                     sd_event_time_handler_t callback) {
  sd_event_source* source = nullptr;
  check("added", sd_event_add_time(g_event, &source, clock, after(clock, microseconds), accuracy, callback,
                                   nullptr) >= 0);
  return source;
}

}  // namespace

CALLBACK int on_block(sd_event_source*, uint64_t, void*) {
  block(kHour);
  return 0;
}
CALLBACK int on_late(sd_event_source*, uint64_t, void*) {
  return 0;
}
CALLBACK int on_hour(sd_event_source*, uint64_t, void*) {
  return 0;
}
CALLBACK int on_realtime(sd_event_source*, uint64_t, void*) {
  return 0;
}
CALLBACK int on_boottime(sd_event_source*, uint64_t, void*) {
  return 0;
}
CALLBACK int on_relative(sd_event_source*, uint64_t, void*) {
  return 0;
}
CALLBACK int on_set(sd_event_source*, uint64_t, void*) {
  return 0;
}
CALLBACK int on_never(sd_event_source*, uint64_t, void*) {
  return 0;
}

CALLBACK int on_again(sd_event_source* source, uint64_t, void*) {
  sd_event_source_set_time(source, after(CLOCK_MONOTONIC, kAnHour - 250'000));
  sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
  sd_event_source_set_priority(add(CLOCK_MONOTONIC, 2000, 1, on_block), -1);
  due("on_late", 30 * kMs, kSlack, [] { add(CLOCK_MONOTONIC, 30'000, 1, on_late); });
  return 0;
}

int main() {
  sd_event_new(&g_event);
  due("on_hour", kHour, kSlack, [] { add(CLOCK_MONOTONIC, kAnHour, 0, on_hour); });
  due("on_realtime", kHour, 60'000 * kMs, [] { add(CLOCK_REALTIME, kAnHour, 60'000'000, on_realtime); });
  due("on_boottime", kHour, kSlack, [] { add(CLOCK_BOOTTIME, kAnHour, 1000, on_boottime); });
  due("on_relative", kHour, kSlack, [] {
    sd_event_add_time_relative(g_event, nullptr, CLOCK_MONOTONIC, kAnHour, 1, on_relative, nullptr);
  });
  sd_event_source* set = add(CLOCK_MONOTONIC, 1000, 1, on_set);
  due("on_set", kHour, kSlack, [&] { sd_event_source_set_time_relative(set, kAnHour); });
  sd_event_source* never = nullptr;
  sd_event_add_time(g_event, &never, CLOCK_MONOTONIC, UINT64_MAX, 1, on_never, nullptr);
  g_again = now_ns();
  add(CLOCK_MONOTONIC, 2000, 1, on_again);
  return sd_event_loop(g_event);
}
