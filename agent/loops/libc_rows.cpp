// libc: what a program that makes its own loop calls; see plain.hpp.
#include <poll.h>

#include "agent/loops/libraries.hpp"
#include "common/include/asynctrace/abi.h"

namespace asynctrace::agent {
namespace {

constexpr const char* kNames[] = {"libc.so.6"};
constexpr EventWord kEvents[] = {{0x0001, "read", ASYNCTRACE_IO, POLLIN},
                                 {0x0002, "urgent data", ASYNCTRACE_IO, POLLPRI},
                                 {0x0004, "write", ASYNCTRACE_IO, POLLOUT},
                                 {0x2000, "close", ASYNCTRACE_IO, POLLRDHUP}};
constexpr Row kRows[] = {
    {.function = "epoll_ctl",
     .role = LoopRole::kEpollControl,
     .kind = "io",
     .kind_class = ASYNCTRACE_IO,
     .fails_by_result = true},
    {.function = "close", .role = LoopRole::kClose},
};

}  // namespace

constinit const Library kLibc = {.name = "epoll", .sonames = kNames, .events = kEvents, .rows = kRows};

}  // namespace asynctrace::agent
