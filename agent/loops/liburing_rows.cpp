// liburing 2: what it exports of liburing.h, see rings.hpp.
#include "agent/loops/libraries.hpp"

namespace asynctrace::agent {
namespace {

constexpr const char* kNames[] = {"liburing.so.2"};
constexpr Row ring(const char* function, LoopRole role) {
  return {.function = function, .role = role, .watcher = 0};
}
constexpr Row kRows[] = {
    ring("io_uring_submit", LoopRole::kSubmit),
    ring("io_uring_submit_and_wait", LoopRole::kSubmit),
    ring("io_uring_submit_and_wait_timeout", LoopRole::kSubmit),
    ring("io_uring_submit_and_get_events", LoopRole::kSubmit),
    ring("__io_uring_get_cqe", LoopRole::kComplete),
    ring("io_uring_wait_cqes", LoopRole::kComplete),
    ring("io_uring_wait_cqe_timeout", LoopRole::kComplete),
    ring("io_uring_peek_batch_cqe", LoopRole::kComplete),
    ring("io_uring_get_events", LoopRole::kComplete),
    ring("io_uring_queue_exit", LoopRole::kEndRing),
};

}  // namespace

constinit const Library kLiburing = {.name = "io_uring", .sonames = kNames, .rows = kRows};

}  // namespace asynctrace::agent
