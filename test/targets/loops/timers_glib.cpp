#include <glib.h>

#include "timers.hpp"

namespace {
int64_t g_forced;
}

CALLBACK gboolean on_block(gpointer) {
  say_due("on_forced", g_forced + kHour, now_ns() + kHour + kRounding, kHour);
  block(2 * kMs);
  return FALSE;
}
CALLBACK gboolean on_late(gpointer) {
  return FALSE;
}
CALLBACK gboolean on_hour(gpointer) {
  return FALSE;
}
CALLBACK gboolean on_seconds(gpointer) {
  return FALSE;
}
CALLBACK gboolean on_own(gpointer) {
  return FALSE;
}
CALLBACK gboolean on_forced(gpointer) {
  g_forced = now_ns();
  return TRUE;
}
CALLBACK gboolean on_rest(gpointer) {
  return FALSE;
}

CALLBACK gboolean on_again(gpointer) {
  static bool is_first = true;
  if (is_first) {
    g_timeout_add(0, on_block, nullptr);
    due("on_late", 30 * kMs, 0, [] { g_timeout_add(30, on_late, nullptr); });
  }
  is_first = false;
  g_again = now_ns();
  return TRUE;
}

namespace {

GSource* own_source(GSourceFunc callback) {
  static GSourceFuncs funcs = {};
  funcs.dispatch = [](GSource*, GSourceFunc call, gpointer data) -> gboolean { return call(data); };
  GSource* source = g_source_new(&funcs, sizeof(GSource));
  g_source_set_callback(source, callback, nullptr, nullptr);
  g_source_attach(source, nullptr);
  return source;
}

}  // namespace

int main() {
  due("on_hour", kHour, 0, [] { g_timeout_add(3'600'000, on_hour, nullptr); });
  due("on_seconds", kHour, 1000 * kMs, [] { g_timeout_add_seconds(3600, on_seconds, nullptr); });
  GSource* source = own_source(on_own);
  due("on_own", kHour, 0, [&] { g_source_set_ready_time(source, now_ns() / 1000 + kHour / 1000); });
  // Dispatched at once, and then after its own interval again.
  source = g_main_context_find_source_by_id(nullptr, g_timeout_add(3'600'000, on_forced, nullptr));
  g_source_set_ready_time(source, 0);
  source = own_source(on_rest);
  g_source_set_ready_time(source, now_ns() / 1000 + kHour / 1000);
  g_source_set_ready_time(source, -1);
  g_timeout_add(2, on_again, nullptr);
  g_main_loop_run(g_main_loop_new(nullptr, FALSE));
  return 0;
}
