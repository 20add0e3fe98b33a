// Loops that a program makes itself with epoll, poll or select: what the agent, which sees them armed, and
// the CLI, which asks the kernel, call the same. Plain data.
#pragma once

#include <poll.h>

#include <cstdint>

#include "common/include/asynctrace/abi.h"

namespace asynctrace {

// An event that a library's function or epoll_ctl() asks for.
struct EventWord {
  uint32_t bit;
  const char* word;
  uint8_t leaf_class;        // asynctrace_leaf_class
  uint16_t poll_events = 0;  // of poll(2) that make it happen; 0: not known
};
inline constexpr EventWord kEpollEvents[] = {{0x0001, "read", ASYNCTRACE_IO, POLLIN},
                                             {0x0002, "urgent data", ASYNCTRACE_IO, POLLPRI},
                                             {0x0004, "write", ASYNCTRACE_IO, POLLOUT},
                                             {0x2000, "close", ASYNCTRACE_IO, POLLRDHUP}};

inline constexpr const char* kEpollName = "epoll";  // of such a loop

// Task::address of a watcher: who watches, an epoll's descriptor or for poll and select a thread's id, and
// what.
inline constexpr uint32_t kWatchedBits = 24;
inline constexpr uint32_t kWatchingBits = 19;  // with 4 bits below: the 47 bits of an address
constexpr uint64_t own_watch(uint32_t by, int descriptor) {
  const uint64_t number =
      uint64_t{by & ((1u << kWatchingBits) - 1)} << kWatchedBits | static_cast<uint32_t>(descriptor);
  return (number + 1) << 4;
}
constexpr uint32_t watching(uint64_t own_watch) {
  return static_cast<uint32_t>(((own_watch >> 4) - 1) >> kWatchedBits);
}

}  // namespace asynctrace
