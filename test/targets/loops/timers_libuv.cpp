#include <uv.h>

#include <initializer_list>

#include "timers.hpp"

namespace {
constexpr uint64_t kAnHour = 3'600'000;
uv_timer_t g_block, g_late_timer, g_hour, g_set, g_again_timer, g_never;
}  // namespace

CALLBACK void on_block(uv_timer_t*) {
  block(kHour);
}
CALLBACK void on_late(uv_timer_t*) {}
CALLBACK void on_hour(uv_timer_t*) {}
CALLBACK void on_set(uv_timer_t*) {}
CALLBACK void on_never(uv_timer_t*) {}

// Its interval holds from its next dispatch on.
CALLBACK void on_again(uv_timer_t* timer) {
  g_again = now_ns();
  if (uv_timer_get_repeat(timer) == kAnHour) return;
  uv_timer_set_repeat(timer, kAnHour);
  uv_timer_start(&g_block, on_block, 2, 0);
  due("on_late", 30 * kMs, 0, [] { uv_timer_start(&g_late_timer, on_late, 30, 0); });
}

int main() {
  uv_loop_t* loop = uv_default_loop();
  for (uv_timer_t* timer : {&g_block, &g_late_timer, &g_hour, &g_set, &g_again_timer, &g_never})
    uv_timer_init(loop, timer);
  due("on_hour", kHour, 0, [] { uv_timer_start(&g_hour, on_hour, kAnHour, 0); });
  uv_timer_start(&g_set, on_set, 1, 1);
  uv_timer_set_repeat(&g_set, kAnHour);
  due("on_set", kHour, 0, [] { uv_timer_again(&g_set); });
  uv_timer_start(&g_never, on_never, UINT64_MAX, 0);
  uv_timer_start(&g_again_timer, on_again, 2, 1);
  return uv_run(loop, UV_RUN_DEFAULT);
}
