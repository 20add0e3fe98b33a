// Where the workers of a runtime meet for a dump: tokio's barriers, with one difference. Nobody is parked for
// a worker that is long in a poll: workers first only say, in passing, that they are between two polls; the
// barrier closes once each of them has done so. All functions may run in any thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "asynctrace/repoll.hpp"

namespace asynctrace {

class Meeting {
 public:
  // `patience`: after this time a dump goes on without those that have not come.
  explicit Meeting(size_t workers, std::chrono::milliseconds patience = std::chrono::milliseconds(250))
      : patience_(patience), seats_(workers) {}

  size_t workers() const { return seats_.size(); }

  // Asks for a dump. The caller then makes each worker that sleeps turn, by the runtime's own means.
  void call() {
    call_if([] { return true; });
  }
  // The same where `repoll` is due. False: it is not, or the workers have been called.
  bool call(const Repoll& repoll) {
    return call_if([&] { return repoll.due(); });
  }

  // Whether the worker, between two polls, is to go to trace_multi_thread(). Until that is over, one that has
  // nothing to poll goes to pause() instead of to sleep, and asks again.
  bool called() const { return called_.load(std::memory_order_acquire); }

  // Until the barrier closes or the dump is over, a millisecond at most: new work may be there.
  void pause() {
    std::unique_lock lock(mutex_);
    if (called_.load(std::memory_order_relaxed) && missing() != 0)
      moved_.wait_for(lock, std::chrono::milliseconds(1));
  }

  enum class Role {
    kNone,   // go on with the next poll
    kLead,   // all others wait for end()
    kAlone,  // the time is over, some have not come; the others go on meanwhile
  };
  // Of worker number `worker`. The first that comes to the closed barrier leads.
  Role come(size_t worker) {
    std::unique_lock lock(mutex_);
    if (!called_.load(std::memory_order_relaxed) || leading_) return Role::kNone;
    if (!std::exchange(seats_[worker].seen, true) && missing() == 0) moved_.notify_all();
    const auto now = std::chrono::steady_clock::now();
    if (missing() != 0) {
      leading_ = now >= deadline_;
      return leading_ ? Role::kAlone : Role::kNone;
    }
    seats_[worker].here = true;
    here_++;
    const auto all_here = [this] { return here_ == seats_.size(); };
    if (here_ == 1) {
      if (arrived_.wait_until(lock, now + patience_ / 10, all_here)) {
        leading_ = true;
        return Role::kLead;
      }
      // Someone began a long poll after it was seen.
      for (Seat& seat : seats_) seat = {seat.here, false};
      release();
      return Role::kNone;
    }
    if (all_here()) arrived_.notify_one();
    released_.wait(lock, [this, round = round_] { return round_ != round; });
    return Role::kNone;
  }

  // Meanwhile, by whoever leads or is alone: how many workers have not come.
  size_t missing_workers() {
    const std::lock_guard lock(mutex_);
    return missing();
  }

  // By the same, who has answered by then.
  void end() {
    const std::lock_guard lock(mutex_);
    for (Seat& seat : seats_) seat = {};
    leading_ = false;
    called_.store(false, std::memory_order_release);
    release();
    moved_.notify_all();
  }

 private:
  struct Seat {
    bool seen = false;  // between two polls, since the call
    bool here = false;  // at the barrier
  };

  template <typename F>
  bool call_if(F is_wanted) {
    const std::lock_guard lock(mutex_);
    if (called_.load(std::memory_order_relaxed) || !is_wanted()) return false;
    deadline_ = std::chrono::steady_clock::now() + patience_;
    called_.store(true, std::memory_order_release);
    return true;
  }
  size_t missing() const {
    return static_cast<size_t>(
        std::count_if(seats_.begin(), seats_.end(), [](const Seat& seat) { return !seat.seen; }));
  }
  void release() {
    here_ = 0;
    round_++;
    released_.notify_all();
  }

  const std::chrono::milliseconds patience_;
  std::atomic<bool> called_{false};
  std::mutex mutex_;
  std::condition_variable moved_, arrived_, released_;
  std::vector<Seat> seats_;
  std::chrono::steady_clock::time_point deadline_;
  size_t here_ = 0;
  uint64_t round_ = 0;
  bool leading_ = false;
};

}  // namespace asynctrace
