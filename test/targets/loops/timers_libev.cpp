#include <ev.h>

#include "timers.hpp"

namespace {
struct ev_loop* g_loop;
ev_timer g_block, g_late_timer, g_hour, g_set, g_again_timer;
ev_periodic g_periodic;
}  // namespace

CALLBACK void on_block(struct ev_loop*, ev_timer*, int) {
  block(kHour);
}
CALLBACK void on_late(struct ev_loop*, ev_timer*, int) {}
CALLBACK void on_hour(struct ev_loop*, ev_timer*, int) {}
CALLBACK void on_set(struct ev_loop*, ev_timer*, int) {}
CALLBACK void on_periodic(struct ev_loop*, ev_periodic*, int) {}

// Its interval holds from its next dispatch on.
CALLBACK void on_again(struct ev_loop*, ev_timer* timer, int) {
  g_again = now_ns();
  if (timer->repeat == 3600.) return;
  timer->repeat = 3600.;
  ev_timer_init(&g_block, on_block, 0.002, 0.);
  ev_timer_start(g_loop, &g_block);
  ev_timer_init(&g_late_timer, on_late, 0.03, 0.);
  due("on_late", 30 * kMs, 0, [] { ev_timer_start(g_loop, &g_late_timer); });
}

int main() {
  g_loop = ev_default_loop(0);
  ev_timer_init(&g_hour, on_hour, 3600., 0.);
  due("on_hour", kHour, 0, [] { ev_timer_start(g_loop, &g_hour); });
  ev_timer_init(&g_set, on_set, 0.001, 3600.);
  due("on_set", kHour, 0, [] { ev_timer_again(g_loop, &g_set); });
  ev_periodic_init(&g_periodic, on_periodic, 0., 3600., nullptr);
  ev_periodic_start(g_loop, &g_periodic);
  ev_timer_init(&g_again_timer, on_again, 0.002, 0.001);
  ev_timer_start(g_loop, &g_again_timer);
  return ev_run(g_loop, 0);
}
