#include "agent/loops/plain.hpp"

#include <string.h>

#include <span>

#include "agent/clock.hpp"
#include "agent/loops/kinds.hpp"
#include "agent/loops/libraries.hpp"
#include "agent/loops/watchers.hpp"
#include "agent/modules.hpp"
#include "agent/native/labels.hpp"
#include "agent/platform.hpp"
#include "agent/task_table.hpp"
#include "common/include/asynctrace/abi.h"

namespace asynctrace::agent {
namespace {

constexpr uint8_t kEpollSlot = 0xfe;
constexpr uint8_t kPollSlot = 0xfd;
constexpr int kMaxFds = 1 << 20;  // more are not to be had by default (fs.nr_open)
constexpr uint64_t kMaxPolled = 256;

// What may be watched: by one descriptor of epoll, or by several. Bounds what close() looks for.
std::atomic<uint32_t>* g_watcher_of = nullptr;  // number + 1; kSeveral: look at all of them
constexpr uint32_t kSeveral = UINT32_MAX;
std::atomic<uint8_t>* g_is_epoll = nullptr;
std::atomic<uint32_t> g_watched{0};
TaskTable g_by_data;  // what the program wants to be told of an event, to the watcher

WatcherKey key_of(uint8_t slot, uint32_t owner, int fd) {
  return {own_watch(owner, fd), slot};
}

uint64_t data_of(const WatcherEntry& entry) {
  return reinterpret_cast<uint64_t>(entry.callback.load(std::memory_order_acquire));
}
uint32_t epoll_of(const WatcherEntry& entry) {
  return watching(entry.address);
}
uint64_t data_key(uint32_t epoll, uint64_t data) {
  constexpr uint64_t kMixer = 0x9e3779b97f4a7c15ull;
  return ((data ^ uint64_t{epoll} << 48) * kMixer) >> 17;
}

bool is_fd(int fd) {
  return fd >= 0 && fd < kMaxFds;
}

Kind kind_of_events(uint32_t events) {
  static constexpr Row kRow{
      .function = "", .role = LoopRole::kEpollControl, .kind = "io", .kind_class = ASYNCTRACE_IO};
  static constexpr LoopFunction kFunction{&kRow, &kLibc, nullptr, nullptr, 0, 0};
  return kind_of(kFunction, events);
}

// Labels are looked up first, not on top of this.
uint32_t set(const HookGuard& guard, WatcherKey key, int fd, uint16_t library, Kind kind, bool repeats) {
  return set_watcher(guard, key,
                     {.descriptor = fd,
                      .library = library,
                      .kind = static_cast<uint16_t>(kind.label + 1),
                      .leaf_class = kind.leaf_class,
                      .repeats = repeats});
}

void forget_data(uint32_t number) {
  const WatcherEntry& entry = watcher_entry(number);
  g_by_data.erase(data_key(epoll_of(entry), data_of(entry)), number);
}

void end_plain(const HookGuard& guard, uint32_t number) {
  forget_data(number);
  end_watcher(guard, number);
  give_back(guard, number);
  g_watched.fetch_sub(1, std::memory_order_relaxed);
}

// For count_events() and before_close().
__attribute__((noinline)) void note_where(uint32_t number, int epoll, int fd, uint64_t data) {
  watcher_entry(number).callback.store(reinterpret_cast<void*>(data), std::memory_order_release);
  // Without room what happens there is not counted.
  g_by_data.insert(data_key(static_cast<uint32_t>(epoll), data), number);
  g_is_epoll[epoll].store(1, std::memory_order_relaxed);
  uint32_t none = 0;
  if (!g_watcher_of[fd].compare_exchange_strong(none, number + 1, std::memory_order_relaxed) &&
      none != number + 1)
    g_watcher_of[fd].store(kSeveral, std::memory_order_relaxed);
}

template <typename IsMeant>
void end_those(const HookGuard& guard, IsMeant is_meant) {
  const uint32_t used = g_segment.used(segment::kWatchers);
  for (uint32_t number = 0; number < used; number++) {
    const WatcherEntry& entry = watcher_entry(number);
    const bool is_plain = entry.slot == kEpollSlot && entry.task_id.load(std::memory_order_acquire) != 0;
    if (is_plain && is_meant(entry)) end_plain(guard, number);
  }
}

// Whether nobody else tells of what this call waits for.
bool is_plain_call(const PolledCall& call) {
  const LoadedModule* module = find_module(call.return_address);
  return module != nullptr && !module->has_own_loop.load(std::memory_order_relaxed);
}

__attribute__((always_inline)) inline void begin_one(const HookGuard& guard, uint16_t library,
                                                     const StackEntry* stack, int fd, uint32_t events) {
  if (!is_fd(fd)) return;
  const Kind kind = kind_of_events(events);
  const uint32_t number = set(guard, key_of(kPollSlot, guard.context().tid, fd), fd, library, kind, true);
  if (number != kNone) arm(guard, number, stack);
}

void end_one(const HookGuard& guard, int fd, bool happened, uint64_t ticks) {
  const uint32_t number = find_watcher(key_of(kPollSlot, guard.context().tid, fd));
  if (number == kNone) return;
  disarm(guard, number);
  if (happened) count_event(number, ticks, guard.context().tid);
}

template <typename Each>
void for_each_in(const SelectedSets& sets, Each each) {
  uint64_t left = kMaxPolled;
  for (int fd = 0; fd < sets.count && fd < FD_SETSIZE && left > 0; fd++) {
    const auto in = [fd](const fd_set* set, uint32_t events) {
      return set != nullptr && FD_ISSET(fd, set) ? events : 0u;
    };
    const uint32_t events = in(sets.read, EPOLLIN) | in(sets.write, EPOLLOUT) | in(sets.except, EPOLLPRI);
    each(fd, events);
    if (events != 0) left--;
  }
}

}  // namespace

void count_event(uint32_t number, uint64_t ticks, uint32_t tid) {
  WatcherEntry& entry = watcher_entry(number);
  const uint64_t id = entry.task_id.load(std::memory_order_acquire);
  if (id == 0 || task_entry(entry.task).id.load(std::memory_order_acquire) != id) return;
  begin_task_poll(entry.task, ticks, tid);
  end_task_poll(entry.task, ticks, ticks, segment::TaskState::kWaiting);
}

bool start_plain_loops() {
  g_watcher_of = reserve_array<std::atomic<uint32_t>>(kMaxFds);
  g_is_epoll = reserve_array<std::atomic<uint8_t>>(kMaxFds);
  return g_watcher_of != nullptr && g_is_epoll != nullptr && g_by_data.start();
}

uint32_t before_epoll_control(const HookGuard& guard, int epoll, int operation, int fd,
                              const epoll_event* event) {
  if (!is_fd(epoll) || !is_fd(fd)) return kNone;
  const WatcherKey key = key_of(kEpollSlot, static_cast<uint32_t>(epoll), fd);
  const uint32_t known = find_watcher(key);
  if (operation == EPOLL_CTL_DEL || event == nullptr) {
    if (known != kNone) end_plain(guard, known);
    return kNone;
  }
  if (known != kNone) forget_data(known);
  const Kind kind = kind_of_events(event->events);
  const bool repeats = (event->events & static_cast<uint32_t>(EPOLLONESHOT)) == 0;
  const uint32_t number = set(guard, key, fd, label_number(kLibc.name, 0), kind, repeats);
  if (number == kNone) return kNone;
  if (known == kNone) g_watched.fetch_add(1, std::memory_order_relaxed);
  note_where(number, epoll, fd, event->data.u64);
  // That is how a program lets a descriptor rest: errors are told unasked.
  constexpr uint32_t kFlags =
      EPOLLET | static_cast<uint32_t>(EPOLLONESHOT | EPOLLEXCLUSIVE | EPOLLWAKEUP | EPOLLERR | EPOLLHUP);
  if ((event->events & ~kFlags) != 0) return number;
  disarm(guard, number);
  return kNone;
}

void undo_epoll_control(const HookGuard& guard, uint32_t number, bool was_armed) {
  if (!was_armed) end_plain(guard, number);
}

bool watches_anything() {
  return g_watched.load(std::memory_order_relaxed) != 0;
}

__attribute__((noinline)) void before_close(const HookGuard& guard, int fd) {
  if (!is_fd(fd)) return;
  const bool is_epoll = g_is_epoll[fd].load(std::memory_order_relaxed) != 0;
  const uint32_t watcher = g_watcher_of[fd].load(std::memory_order_relaxed);
  if (!is_epoll && watcher == 0) return;
  // A child of vfork() closes its own.
  if (thread_id() != guard.context().tid) return;
  if (is_epoll && g_is_epoll[fd].exchange(0, std::memory_order_relaxed) != 0)
    end_those(guard,
              [fd](const WatcherEntry& entry) { return epoll_of(entry) == static_cast<uint32_t>(fd); });
  if (watcher == 0) return;
  g_watcher_of[fd].store(0, std::memory_order_relaxed);
  const auto is_its = [fd](const WatcherEntry& entry) { return entry.facts.descriptor == fd; };
  if (watcher == kSeveral) return end_those(guard, is_its);
  const WatcherEntry& entry = watcher_entry(watcher - 1);
  const bool is_there = entry.slot == kEpollSlot && entry.task_id.load(std::memory_order_acquire) != 0;
  if (is_there && is_its(entry)) end_plain(guard, watcher - 1);
}

void count_events(int epoll, const epoll_event* events, int count) {
  if (!watches_anything() || !is_fd(epoll)) return;
  const HookGuard guard(current_thread());
  if (!guard) return;
  const uint64_t ticks = now();
  for (const epoll_event& event : std::span(events, static_cast<size_t>(count))) {
    const uint64_t data = event.data.u64;
    const auto is_it = [&](uint32_t number) {
      const WatcherEntry& entry = watcher_entry(number);
      return data_of(entry) == data && entry.slot == kEpollSlot &&
             epoll_of(entry) == static_cast<uint32_t>(epoll);
    };
    const uint32_t number = g_by_data.find(data_key(static_cast<uint32_t>(epoll), data), is_it);
    if (number == kNone) continue;
    count_event(number, ticks, guard.context().tid);
    if (!watcher_entry(number).facts.repeats) disarm(guard, number);
  }
}

namespace {

// Its stack, where the call is to be recorded; what arms its watchers is off the stack meanwhile.
bool is_to_record(const HookGuard& guard, PolledCall& call, const StackEntry*& stack) {
  if (!guard || !is_plain_call(call)) return false;
  drop_dead_frames(guard, call.caller_sp);
  stack = capture(guard, {call.caller_sp, call.return_address});
  return call.is_recorded = true;
}

__attribute__((noinline)) void arm_polled(const HookGuard& guard, const char* name, const StackEntry* stack,
                                          const pollfd* fds, uint64_t count) {
  const uint16_t library = label_number(name, 0);
  for (uint64_t i = 0; i < count && i < kMaxPolled; i++)
    begin_one(guard, library, stack, fds[i].fd, static_cast<uint16_t>(fds[i].events));
}

__attribute__((noinline)) void arm_selected(const HookGuard& guard, const char* name, const StackEntry* stack,
                                            const SelectedSets& sets) {
  const uint16_t library = label_number(name, 0);
  for_each_in(sets, [&](int fd, uint32_t events) {
    if (events != 0) begin_one(guard, library, stack, fd, events);
  });
}

__attribute__((noinline)) void disarm_selected(const HookGuard& guard, const SelectedSets& sets,
                                               bool failed) {
  const uint64_t ticks = now();
  for_each_in(sets, [&](int fd, uint32_t events) { end_one(guard, fd, events != 0 && !failed, ticks); });
}

}  // namespace

void begin_polled(PolledCall& call, const pollfd* fds, uint64_t count) {
  if (!call.waits || g_live.load(std::memory_order_acquire) == nullptr) return;
  const HookGuard guard(current_thread());
  const StackEntry* stack = nullptr;
  if (is_to_record(guard, call, stack)) arm_polled(guard, call.name, stack, fds, count);
}

void end_polled(const PolledCall& call, const pollfd* fds, uint64_t count) {
  if (!call.is_recorded) return;
  const HookGuard guard(current_thread());
  if (!guard) return;
  const uint64_t ticks = now();
  for (uint64_t i = 0; i < count && i < kMaxPolled; i++)
    if (is_fd(fds[i].fd)) end_one(guard, fds[i].fd, fds[i].revents != 0, ticks);
}

void begin_selected(PolledCall& call, const SelectedSets& sets) {
  if (!call.waits || g_live.load(std::memory_order_acquire) == nullptr) return;
  const HookGuard guard(current_thread());
  const StackEntry* stack = nullptr;
  if (is_to_record(guard, call, stack)) arm_selected(guard, call.name, stack, sets);
}

void end_selected(const PolledCall& call, const SelectedSets& sets, bool failed) {
  if (!call.is_recorded) return;
  if (const HookGuard guard(current_thread()); guard) disarm_selected(guard, sets, failed);
}

}  // namespace asynctrace::agent
