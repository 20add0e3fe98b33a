#include "agent/poll_loop.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "agent/clock.hpp"
#include "agent/interpose.hpp"
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

void set_state(ThreadContext& context, segment::ThreadState state, uint64_t ticks) {
  segment::Thread& record = *context.record;
  std::atomic_ref<uint64_t>(record.state_since).store(ticks, std::memory_order_relaxed);
  std::atomic_ref<segment::ThreadState>(record.state).store(state, std::memory_order_release);
}

void park() {
  if (g_detached.load(std::memory_order_relaxed)) return;
  const HookGuard guard(current_thread());
  if (!guard) return;
  ThreadContext& context = guard.context();
  const uint64_t ticks = now();
  context.begun.task_id = 0;
  segment::Header& header = g_segment.header();
  refresh_clock(header.clock, ticks);
  std::atomic_ref<uint64_t>(header.last_event).store(ticks, std::memory_order_relaxed);
  std::atomic_ref<uint64_t>(context.record->parks).fetch_add(1, std::memory_order_relaxed);
  g_segment.reserve_ahead(segment::kLeaves);
  set_state(context, segment::ThreadState::kParked, ticks);
}

void unpark() {
  const HookGuard guard(current_thread());
  if (guard) set_state(guard.context(), segment::ThreadState::kOther, now());
}

// No destructor brings the thread back: these calls are cancellation points, and what unwinds through here
// must find nothing to run.
template <typename F, typename... Args>
int parked(F function, Args... args) {
  {
    const ErrnoKeeper errno_keeper;
    park();
  }
  const int result = function(args...);
  const ErrnoKeeper errno_keeper;
  unpark();
  return result;
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
  return parked(real(g_real.epoll_wait, "epoll_wait"), fd, events, max, timeout);
}

ASYNCTRACE_EXPORT int epoll_pwait(int fd, epoll_event* events, int max, int timeout, const sigset_t* mask) {
  return parked(real(g_real.epoll_pwait, "epoll_pwait"), fd, events, max, timeout, mask);
}

ASYNCTRACE_EXPORT int epoll_pwait2(int fd, epoll_event* events, int max, const timespec* timeout,
                                   const sigset_t* mask) {
  return parked(real(g_real.epoll_pwait2, "epoll_pwait2"), fd, events, max, timeout, mask);
}

ASYNCTRACE_EXPORT int poll(pollfd* fds, nfds_t count, int timeout) {
  return parked(real(g_real.poll, "poll"), fds, count, timeout);
}

ASYNCTRACE_EXPORT int ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) {
  return parked(real(g_real.ppoll, "ppoll"), fds, count, timeout, mask);
}

ASYNCTRACE_EXPORT int select(int count, fd_set* read, fd_set* write, fd_set* except, timeval* timeout) {
  return parked(real(g_real.select, "select"), count, read, write, except, timeout);
}

ASYNCTRACE_EXPORT int pselect(int count, fd_set* read, fd_set* write, fd_set* except, const timespec* timeout,
                              const sigset_t* mask) {
  return parked(real(g_real.pselect, "pselect"), count, read, write, except, timeout, mask);
}
