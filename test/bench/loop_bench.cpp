// loop_bench TURNS: CPU nanoseconds of one turn of libevent, in which a timer arms itself and is dispatched.
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

namespace {

constexpr timeval kNow = {0, 0};
event* g_timer;
long g_left;

void on_timer(evutil_socket_t, short, void* base) {
  if (--g_left > 0) event_add(g_timer, &kNow);
  else event_base_loopbreak(static_cast<event_base*>(base));
}

double cpu_ns() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

}  // namespace

int main(int argc, char** argv) {
  const long turns = g_left = argc > 1 ? atol(argv[1]) : 1;
  event_base* base = event_base_new();
  g_timer = evtimer_new(base, on_timer, base);
  event_add(g_timer, &kNow);
  const double before = cpu_ns();
  event_base_dispatch(base);
  printf("%.1f\n", (cpu_ns() - before) / static_cast<double>(turns));
  return 0;
}
