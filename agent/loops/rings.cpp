#include "agent/loops/rings.hpp"

#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <string.h>

#include <iterator>

#include "agent/clock.hpp"
#include "agent/loops/libraries.hpp"
#include "agent/loops/plain.hpp"
#include "agent/loops/watchers.hpp"
#include "agent/native/labels.hpp"
#include "common/include/asynctrace/abi.h"

namespace asynctrace::agent {
namespace {

// Off the stack when that is walked.
#define OFF_THE_STACK __attribute__((noinline))

constexpr uint8_t kRingSlot = 0xfc;
constexpr uint64_t kOfLibrary = UINT64_MAX;  // user_data of liburing's own time-outs

// The beginning of liburing 2's struct io_uring. Inline functions make its layout part of the interface.
struct Queue {
  uint32_t* head;
  uint32_t* tail;
  uint32_t* mask;
  uint32_t* entries;
  uint32_t* flags;
  uint32_t* lost;
};
struct Ring {
  Queue submissions;
  uint32_t* array;
  std::byte* sqes;
  uint32_t sqe_head, sqe_tail;
  size_t submissions_size;
  void* submissions_memory;
  uint32_t pad[4];
  Queue completions;
  std::byte* cqes;
  size_t completions_size;
  void* completions_memory;
  uint32_t pad2[4];
  uint32_t flags;
  int32_t fd;
};
static_assert(sizeof(Ring) == 200);

const Ring& as_ring(const void* ring) {
  return *static_cast<const Ring*>(ring);
}

struct Operation {
  const char* word = nullptr;  // null: it does not wait for long
  uint8_t leaf_class = ASYNCTRACE_IO;
};
constexpr Operation kOperations[] = {
    [IORING_OP_NOP] = {"nop", ASYNCTRACE_UNKNOWN},
    [IORING_OP_READV] = {"read"},
    [IORING_OP_WRITEV] = {"write"},
    [IORING_OP_FSYNC] = {"fsync"},
    [IORING_OP_READ_FIXED] = {"read"},
    [IORING_OP_WRITE_FIXED] = {"write"},
    [IORING_OP_POLL_ADD] = {"poll"},
    [IORING_OP_POLL_REMOVE] = {"poll remove"},
    [IORING_OP_SYNC_FILE_RANGE] = {"fsync"},
    [IORING_OP_SENDMSG] = {"send"},
    [IORING_OP_RECVMSG] = {"receive"},
    [IORING_OP_TIMEOUT] = {"timer", ASYNCTRACE_TIMER},
    [IORING_OP_TIMEOUT_REMOVE] = {"timer change", ASYNCTRACE_TIMER},
    [IORING_OP_ACCEPT] = {"accept"},
    [IORING_OP_ASYNC_CANCEL] = {"cancel"},
    [IORING_OP_LINK_TIMEOUT] = {"timer", ASYNCTRACE_TIMER},
    [IORING_OP_CONNECT] = {"connect"},
    [IORING_OP_FALLOCATE] = {"file"},
    [IORING_OP_OPENAT] = {"open"},
    [IORING_OP_CLOSE] = {"close"},
    [IORING_OP_FILES_UPDATE] = {"file"},
    [IORING_OP_STATX] = {"file"},
    [IORING_OP_READ] = {"read"},
    [IORING_OP_WRITE] = {"write"},
    [IORING_OP_FADVISE] = {"file"},
    [IORING_OP_MADVISE] = {"memory"},
    [IORING_OP_SEND] = {"send"},
    [IORING_OP_RECV] = {"receive"},
    [IORING_OP_OPENAT2] = {"open"},
    [IORING_OP_EPOLL_CTL] = {"epoll"},
    [IORING_OP_SPLICE] = {"splice"},
};
constexpr Operation kOtherOperation = {"operation"};

// How far the completions of a ring have been looked at.
struct Looked {
  std::atomic<const void*> ring;
  uint32_t at;
};
Looked g_looked[64];

Looked* looked_at(const void* ring) {
  for (Looked& one : g_looked)
    if (one.ring.load(std::memory_order_acquire) == ring) return &one;
  return nullptr;
}

Looked* begin_looking(const void* ring) {
  if (Looked* known = looked_at(ring)) return known;
  for (Looked& one : g_looked) {
    const void* none = nullptr;
    if (!one.ring.compare_exchange_strong(none, ring, std::memory_order_acq_rel)) continue;
    one.at = __atomic_load_n(as_ring(ring).completions.tail, __ATOMIC_ACQUIRE);
    return &one;
  }
  return nullptr;
}

WatcherKey key_of(const void* ring, uint64_t user_data) {
  constexpr uint64_t kMixer = 0x9e3779b97f4a7c15ull;
  const uint64_t mixed = (user_data ^ reinterpret_cast<uint64_t>(ring) * kMixer) * kMixer;
  return {mixed >> 17 | 1, kRingSlot};
}

io_uring_sqe submission(const Ring& ring, uint32_t index) {
  const size_t size = (ring.flags & IORING_SETUP_SQE128) != 0 ? 128 : 64;
  io_uring_sqe sqe;
  static_assert(sizeof(sqe) >= 64);
  memcpy(&sqe, ring.sqes + (index & *ring.submissions.mask) * size, 64);
  return sqe;
}

bool is_told_of(const io_uring_sqe& sqe) {
  return sqe.user_data != kOfLibrary && (sqe.flags & IOSQE_CQE_SKIP_SUCCESS) == 0;
}

Due due_of(const io_uring_sqe& sqe) {
  const bool is_timer = sqe.opcode == IORING_OP_TIMEOUT || sqe.opcode == IORING_OP_LINK_TIMEOUT;
  if (!is_timer || (sqe.timeout_flags & IORING_TIMEOUT_ABS) != 0 || sqe.addr == 0) return {};
  __kernel_timespec time;
  memcpy(&time, reinterpret_cast<const void*>(sqe.addr), sizeof(time));
  if (time.tv_sec < 0 || time.tv_sec >= segment::kNeverDue / 1000) return {};
  const auto ms = static_cast<uint64_t>(time.tv_sec) * 1000 + static_cast<uint64_t>(time.tv_nsec) / 1'000'000;
  return {segment::DueClock::kSinceArmed, (ms + 1) | uint64_t{segment::kNeverDue} << 32};
}

WatcherFacts facts_of(const io_uring_sqe& sqe) {
  const Operation& known = sqe.opcode < std::size(kOperations) ? kOperations[sqe.opcode] : kOtherOperation;
  const bool has_fd = sqe.fd >= 0 && (sqe.flags & IOSQE_FIXED_FILE) == 0;
  return {.descriptor = has_fd ? sqe.fd : segment::kNoDescriptor,
          .library = label_number(kLiburing.name, 0),
          .kind = static_cast<uint16_t>(label_number(known.word, known.leaf_class) + 1),
          .leaf_class = known.leaf_class,
          .repeats = true};
}

void complete(const HookGuard& guard, const void* ring, const io_uring_cqe& cqe, uint64_t ticks) {
  const uint32_t number = find_watcher(key_of(ring, cqe.user_data));
  if (number == kNone) return;
  count_event(number, ticks, guard.context().tid);
  if ((cqe.flags & IORING_CQE_F_MORE) != 0 || let_go(number)) return;
  end_watcher(guard, number);
  give_back(guard, number);
}

void end_all(const HookGuard& guard, const void* ring) {
  for (uint32_t number = end_loop(guard, reinterpret_cast<uint64_t>(ring), kNone); number != kNone;) {
    const auto next = static_cast<uint32_t>(watcher_entry(number).address);
    watcher_entry(number).address = 0;
    give_back(guard, number);
    number = next;
  }
}

}  // namespace

OFF_THE_STACK bool has_submissions(const void* ring) {
  const Ring& known = as_ring(ring);
  for (uint32_t i = known.sqe_head; i != known.sqe_tail; i++)
    if (is_told_of(submission(known, i))) return true;
  return false;
}

OFF_THE_STACK void submit_ring(const HookGuard& guard, const void* ring, const StackEntry* stack) {
  if (begin_looking(ring) == nullptr) return g_segment.count_loss(segment::kLostWatchers);
  const Ring& known = as_ring(ring);
  for (uint32_t i = known.sqe_head; i != known.sqe_tail; i++) {
    const io_uring_sqe sqe = submission(known, i);
    if (!is_told_of(sqe)) continue;
    const WatcherKey key = key_of(ring, sqe.user_data);
    const uint32_t same = find_watcher(key);
    const uint32_t number = set_watcher(guard, key, facts_of(sqe));
    if (number == kNone) continue;
    // Several with one name: what completes is one of them.
    if (number == same) hold(number);
    set_loop(number, reinterpret_cast<uint64_t>(ring));
    set_due(number, due_of(sqe));
    arm(guard, number, stack);
  }
}

OFF_THE_STACK void look_at_completions(const HookGuard& guard, const void* ring) {
  Looked* looked = looked_at(ring);
  if (looked == nullptr) return;
  const Ring& known = as_ring(ring);
  const uint32_t tail = __atomic_load_n(known.completions.tail, __ATOMIC_ACQUIRE);
  const uint32_t count = tail - looked->at;
  if (count > *known.completions.entries) {
    // Some have been written over, unseen: what still waits is not known.
    end_all(guard, ring);
    g_segment.count_loss(segment::kLostWatchers);
  } else if (count != 0) {
    const size_t size = (known.flags & IORING_SETUP_CQE32) != 0 ? 32 : 16;
    const uint64_t ticks = now();
    for (uint32_t i = looked->at; i != tail; i++) {
      io_uring_cqe cqe;
      memcpy(&cqe, known.cqes + (i & *known.completions.mask) * size, sizeof(cqe));
      complete(guard, ring, cqe, ticks);
    }
  }
  looked->at = tail;
}

OFF_THE_STACK void end_ring(const HookGuard& guard, const void* ring) {
  Looked* looked = looked_at(ring);
  if (looked == nullptr) return;
  end_all(guard, ring);
  looked->ring.store(nullptr, std::memory_order_release);
}

}  // namespace asynctrace::agent
