// libc: what a program that makes its own loop calls; see plain.hpp.
#include "agent/loops/libraries.hpp"
#include "common/include/asynctrace/abi.h"

namespace asynctrace::agent {
namespace {

constexpr const char* kNames[] = {"libc.so.6"};
constexpr Row kRows[] = {
    {.function = "epoll_ctl",
     .role = LoopRole::kEpollControl,
     .kind = "io",
     .kind_class = ASYNCTRACE_IO,
     .fails_by_result = true},
    {.function = "close", .role = LoopRole::kClose},
};

}  // namespace

constinit const Library kLibc = {
    .name = kEpollName, .sonames = kNames, .events = kEpollEvents, .rows = kRows};

}  // namespace asynctrace::agent
