// The tasks of tokio's own tests of its task dumps: a awaits b, b awaits c, and c sleeps for longer than any
// test runs.
#pragma once

#include <chrono>

#include "test/targets/native/leaves.hpp"

namespace native {

inline Task<> c() {
  co_await Sleep(std::chrono::hours(1));
}
inline Task<> b() {
  co_await c();
}
inline Task<> a() {
  co_await b();
}

}  // namespace native
