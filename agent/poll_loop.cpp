#include "agent/poll_loop.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "agent/clock.hpp"
#include "agent/interpose.hpp"
#include "agent/loops/plain.hpp"
#include "agent/thread_context.hpp"

namespace asynctrace::agent {
namespace {

struct Real {
  decltype(&::epoll_wait) epoll_wait;
  decltype(&::epoll_pwait) epoll_pwait;
  decltype(&::epoll_pwait2) epoll_pwait2;
  decltype(&::poll) poll;
  decltype(&::ppoll) ppoll;
  decltype(&::select) select;
  decltype(&::pselect) pselect;
};
Real g_real;

std::atomic_ref<segment::ThreadState> state_of(const ThreadContext& context) {
  return std::atomic_ref<segment::ThreadState>(context.record->state);
}

// A thread that never sleeps shows the time only now and then: that costs as much as all the rest.
constexpr uint64_t kTurnsPerClock = 64;

// Whether it sleeps from now on. A call that does not wait is a turn of the loop all the same.
bool park(bool waits) {
  if (g_detached.load(std::memory_order_relaxed)) return false;
  const HookGuard guard(current_thread());
  if (!guard) return false;
  ThreadContext& context = guard.context();
  context.begun.task_id = 0;
  segment::Thread& record = *context.record;
  const uint64_t turns = record.parks + 1;
  std::atomic_ref<uint64_t>(record.parks).store(turns, std::memory_order_relaxed);
  g_segment.reserve_ahead(segment::kLeaves);
  if (!waits && turns % kTurnsPerClock != 0) return false;
  const uint64_t ticks = now();
  segment::Header& header = g_segment.header();
  refresh_clock(header.clock, ticks);
  std::atomic_ref<uint64_t>(header.last_event).store(ticks, std::memory_order_relaxed);
  if (!waits) return false;
  std::atomic_ref<uint64_t>(record.state_since).store(ticks, std::memory_order_relaxed);
  state_of(context).store(segment::ThreadState::kParked, std::memory_order_release);
  return true;
}

void unpark() {
  const HookGuard guard(current_thread());
  if (guard) state_of(guard.context()).store(segment::ThreadState::kOther, std::memory_order_release);
}

bool waits(const timespec* timeout) {
  return timeout == nullptr || timeout->tv_sec != 0 || timeout->tv_nsec != 0;
}

// No destructor brings the thread back: these calls are cancellation points, and what unwinds through here
// must find nothing to run.
template <typename F, typename... Args>
int parked(bool waits, F function, Args... args) {
  const bool is_parked = park(waits);
  const int result = function(args...);
  if (is_parked) unpark();
  return result;
}

int counted(int epoll, const epoll_event* events, int count) {
  if (count > 0) count_events(epoll, events, count);
  return count;
}

template <typename F, typename... Args>
int polled(PolledCall call, F function, pollfd* fds, nfds_t count, Args... args) {
  begin_polled(call, fds, count);
  const int result = parked(call.waits, function, fds, count, args...);
  end_polled(call, fds, count);
  return result;
}

template <typename F, typename... Args>
int selected(PolledCall call, F function, SelectedSets sets, Args... args) {
  begin_selected(call, sets);
  const int result = parked(call.waits, function, sets.count, sets.read, sets.write, sets.except, args...);
  end_selected(call, sets, result < 0);
  return result;
}

// The frame is found without a frame pointer: none of these functions has one.
#define POLLED_CALL(name, waits)                                       \
  {                                                                    \
    name, reinterpret_cast<uint64_t>(__builtin_dwarf_cfa()),           \
        reinterpret_cast<uint64_t>(__builtin_return_address(0)), waits \
  }

}  // namespace

void start_poll_loop() {
  real(g_real.epoll_wait, "epoll_wait");
  real(g_real.epoll_pwait, "epoll_pwait");
  real(g_real.epoll_pwait2, "epoll_pwait2");
  real(g_real.poll, "poll");
  real(g_real.ppoll, "ppoll");
  real(g_real.select, "select");
  real(g_real.pselect, "pselect");
}

}  // namespace asynctrace::agent

using namespace asynctrace::agent;

ASYNCTRACE_EXPORT int epoll_wait(int fd, epoll_event* events, int max, int timeout) {
  const auto function = real(g_real.epoll_wait, "epoll_wait");
  return counted(fd, events, parked(timeout != 0, function, fd, events, max, timeout));
}

ASYNCTRACE_EXPORT int epoll_pwait(int fd, epoll_event* events, int max, int timeout, const sigset_t* mask) {
  const auto function = real(g_real.epoll_pwait, "epoll_pwait");
  return counted(fd, events, parked(timeout != 0, function, fd, events, max, timeout, mask));
}

ASYNCTRACE_EXPORT int epoll_pwait2(int fd, epoll_event* events, int max, const timespec* timeout,
                                   const sigset_t* mask) {
  const auto function = real(g_real.epoll_pwait2, "epoll_pwait2");
  return counted(fd, events, parked(waits(timeout), function, fd, events, max, timeout, mask));
}

ASYNCTRACE_EXPORT int poll(pollfd* fds, nfds_t count, int timeout) {
  return polled(POLLED_CALL("poll", timeout != 0), real(g_real.poll, "poll"), fds, count, timeout);
}

ASYNCTRACE_EXPORT int ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) {
  return polled(POLLED_CALL("poll", waits(timeout)), real(g_real.ppoll, "ppoll"), fds, count, timeout, mask);
}

ASYNCTRACE_EXPORT int select(int count, fd_set* read, fd_set* write, fd_set* except, timeval* timeout) {
  const bool is_long = timeout == nullptr || timeout->tv_sec != 0 || timeout->tv_usec != 0;
  return selected(POLLED_CALL("select", is_long), real(g_real.select, "select"),
                  SelectedSets{read, write, except, count}, timeout);
}

ASYNCTRACE_EXPORT int pselect(int count, fd_set* read, fd_set* write, fd_set* except, const timespec* timeout,
                              const sigset_t* mask) {
  return selected(POLLED_CALL("select", waits(timeout)), real(g_real.pselect, "pselect"),
                  SelectedSets{read, write, except, count}, timeout, mask);
}
