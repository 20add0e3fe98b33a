// What the census fuzzer's first input and the fuzzer itself agree on.
#pragma once

#include <cstdint>

namespace asynctrace::fuzz {

inline constexpr uint64_t kTokioTable = 0x555500001000, kAsyncTaskTable = 0x555500001100;
inline constexpr uint64_t kIdOffset = 40;
// Of a coroutine.
inline constexpr uint64_t kResume = 0x555500000200, kDestroy = 0x555500000300;

}  // namespace asynctrace::fuzz
