// Loops that a program makes itself with epoll, poll or select: each descriptor that it waits for is a
// watcher without a callback, and a dispatch is the report that something happened there. Only what such a
// program calls is looked at: modules that have a runtime of their own, and libraries of the table, tell of
// their waits themselves. epoll_ctl() begins to trace; poll() and select(), which programs call for many
// reasons, are recorded where the process is traced anyway. Any thread; nothing allocates or blocks.
#pragma once

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include <cstdint>

#include "agent/capture/capture.hpp"
#include "agent/thread_context.hpp"

namespace asynctrace::agent {

bool start_plain_loops();

// Before epoll_ctl(): the watcher that it is about to arm, kNone. Takes away what it is about to remove.
uint32_t before_epoll_control(const HookGuard& guard, int epoll, int operation, int fd,
                              const epoll_event* event);
// It has failed. `was_armed`: the watcher had been there before.
void undo_epoll_control(const HookGuard& guard, uint32_t number, bool was_armed);

// A descriptor is about to be closed; may be one of epoll itself.
bool watches_anything();
void before_close(const HookGuard& guard, int fd);

// Something that a watcher waits for has happened, and it waits on.
void count_event(uint32_t number, uint64_t ticks, uint32_t tid);

// epoll_wait() has returned `count` events.
void count_events(int epoll, const epoll_event* events, int count);

// What a thread waits for in one call, from before it until after it. With a time-out of 0 it does not wait.
// The caller's frame is that of the interposed function.
struct PolledCall {
  const char* name;
  uint64_t caller_sp;
  uint64_t return_address;
  bool waits;
  bool is_recorded = false;
};
void begin_polled(PolledCall& call, const pollfd* fds, uint64_t count);
void end_polled(const PolledCall& call, const pollfd* fds, uint64_t count);

struct SelectedSets {
  fd_set* read;
  fd_set* write;
  fd_set* except;
  int count;
};
void begin_selected(PolledCall& call, const SelectedSets& sets);
// `sets` hold what has happened; a failed call has left them as they were.
void end_selected(const PolledCall& call, const SelectedSets& sets, bool failed);

}  // namespace asynctrace::agent
