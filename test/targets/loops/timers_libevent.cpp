#include <event2/event.h>

#include "timers.hpp"

namespace {
constexpr timeval kTwoMs = {0, 2000}, kThirtyMs = {0, 30'000}, kAnHour = {3600, 0};
event_base* g_base;
event* g_again_event;
}  // namespace

CALLBACK void on_block(evutil_socket_t, short, void*) {
  block(kHour);
}
CALLBACK void on_late(evutil_socket_t, short, void*) {}
CALLBACK void on_hour(evutil_socket_t, short, void*) {}
CALLBACK void on_common(evutil_socket_t, short, void*) {}
CALLBACK void on_read_or_hour(evutil_socket_t, short, void*) {}
CALLBACK void on_read(evutil_socket_t, short, void*) {}
CALLBACK void on_timeless(evutil_socket_t, short, void*) {}
CALLBACK void on_once(evutil_socket_t, short, void*) {}

CALLBACK void on_again(evutil_socket_t, short, void*) {
  event_add(g_again_event, &kAnHour);
  event_add(evtimer_new(g_base, on_block, nullptr), &kTwoMs);
  due("on_late", 30 * kMs, 0, [] { event_add(evtimer_new(g_base, on_late, nullptr), &kThirtyMs); });
  g_again = now_ns();
}

int main() {
  g_base = event_base_new();
  due("on_hour", kHour, 0, [] { event_add(evtimer_new(g_base, on_hour, nullptr), &kAnHour); });
  const timeval* common = event_base_init_common_timeout(g_base, &kAnHour);
  due("on_common", kHour, 0, [&] { event_add(evtimer_new(g_base, on_common, nullptr), common); });
  int ends[2];
  check("pipe", pipe(ends) == 0);
  due("on_read_or_hour", kHour, 0, [&] {
    event* reader = event_new(g_base, ends[0], EV_READ | EV_PERSIST, on_read_or_hour, nullptr);
    event_add(reader, &kAnHour);
    event_add(reader, nullptr);  // changes nothing
  });
  event_add(event_new(g_base, ends[0], EV_READ, on_read, nullptr), nullptr);
  int more[2];
  check("pipe", pipe(more) == 0);
  event* timeless = event_new(g_base, more[0], EV_READ | EV_PERSIST, on_timeless, nullptr);
  event_add(timeless, &kAnHour);
  event_remove_timer(timeless);
  due("on_once", kHour, 0, [] { event_base_once(g_base, -1, EV_TIMEOUT, on_once, nullptr, &kAnHour); });
  g_again_event = event_new(g_base, -1, EV_PERSIST, on_again, nullptr);
  event_add(g_again_event, &kTwoMs);
  return event_base_dispatch(g_base);
}
