// Timers and sockets: who is to be woken by what. Any thread may ask, one at a time waits.
#pragma once

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <asynctrace.hpp>

namespace native {

using Clock = std::chrono::steady_clock;
struct Job;
using Waker = std::shared_ptr<Job>;

class Reactor {
 public:
  Reactor() : epoll_(epoll_create1(EPOLL_CLOEXEC)), wake_up_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    add(wake_up_);
    if (repoll_.fd() >= 0) add(repoll_.fd());
  }
  ~Reactor() {
    close(wake_up_);
    close(epoll_);
  }
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  void add_timer(Clock::time_point when, const Waker& waker) {
    const std::lock_guard lock(mutex_);
    timers_.emplace(when, waker);
    if (timers_.begin()->second == waker) wake_up();
  }
  void cancel_timer(Clock::time_point when, const Waker& waker) {
    const std::lock_guard lock(mutex_);
    const auto [first, last] = timers_.equal_range(when);
    const auto timer = std::find_if(first, last, [&](const auto& entry) { return entry.second == waker; });
    if (timer != last) timers_.erase(timer);
  }

  // Once; input that is there already counts.
  void watch(int fd, const Waker& waker) {
    const std::lock_guard lock(mutex_);
    const bool known = !watched_.insert_or_assign(fd, waker).second;
    epoll_event event{};
    event.events = EPOLLIN | EPOLLONESHOT;
    event.data.fd = fd;
    epoll_ctl(epoll_, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
  }
  void unwatch(int fd) {
    const std::lock_guard lock(mutex_);
    if (watched_.erase(fd) != 0) epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
  }

  // A dump asks for traces: ends a wait, too.
  const asynctrace::Repoll& repoll() const { return repoll_; }

  // Ends the wait that is in progress, or the next one.
  void wake_up() { eventfd_write(wake_up_, 1); }

  // Those that are due after an event, a wake-up or so long. Nothing: until then, for ever.
  std::vector<Waker> wait(std::optional<std::chrono::milliseconds> patience) {
    epoll_event events[16];
    const int count = epoll_wait(epoll_, events, 16, timeout(patience));
    std::vector<Waker> due;
    const std::lock_guard lock(mutex_);
    for (int i = 0; i < count; i++) {
      char ignored[4096];
      const int fd = events[i].data.fd;
      if (fd == wake_up_ || fd == repoll_.fd()) {
        while (read(fd, ignored, sizeof(ignored)) > 0) continue;
        continue;
      }
      // Whoever watches may have given up meanwhile.
      if (const auto found = watched_.find(fd); found != watched_.end()) due.push_back(found->second);
    }
    for (const auto now = Clock::now(); !timers_.empty() && timers_.begin()->first <= now;) {
      due.push_back(timers_.begin()->second);
      timers_.erase(timers_.begin());
    }
    return due;
  }

 private:
  // Level-triggered, without a waker.
  void add(int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
  }

  int timeout(std::optional<std::chrono::milliseconds> patience) {
    const std::lock_guard lock(mutex_);
    if (timers_.empty()) return patience ? static_cast<int>(patience->count()) : -1;
    const auto next = std::chrono::ceil<std::chrono::milliseconds>(timers_.begin()->first - Clock::now());
    const auto time = patience ? std::min(*patience, next) : next;
    return static_cast<int>(std::clamp<int64_t>(time.count(), 0, 1'000'000'000));
  }

  const int epoll_, wake_up_;
  const asynctrace::Repoll repoll_;
  std::mutex mutex_;
  std::multimap<Clock::time_point, Waker> timers_;
  std::map<int, Waker> watched_;
};

}  // namespace native
