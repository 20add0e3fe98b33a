// A runtime in one thread: a queue of tasks, timers, sockets over epoll, channels, wake-ups from other
// threads.
#pragma once

#include <deque>
#include <unordered_map>

#include "leaves.hpp"

namespace native {

class SingleThread final : public Runtime {
 public:
  using Task = Job;
  using Notified = Waker;
  using Id = std::string;

  SingleThread() = default;
  ~SingleThread() override {
    for (const auto& [job, waker] : jobs_) drop(*job);
  }

  // `site`: a code address, where that is told.
  Waker spawn(native::Task<void> task, std::string name, const void* site = nullptr) {
    const Waker job = std::make_shared<Job>(std::move(task), std::move(name));
    asynctrace_task_created(job.get(), "single_thread", job->name.c_str(), site);
    jobs_.emplace(job.get(), job);
    job->make_due();
    queue_.push_back(job);
    return job;
  }

  // Polls tasks until none is due, then waits for events, at most so long. False: all tasks have ended.
  bool turn(std::chrono::milliseconds patience = std::chrono::milliseconds(0)) {
    enter(this);
    if (reactor().repoll().due()) trace();
    for (auto job = pop(); job; job = pop()) poll(*job);
    if (jobs_.empty()) return false;
    for (const Waker& job : reactor().wait(patience)) wake(job);
    return true;
  }

  // asynctrace::TraceableRuntime
  std::optional<Notified> pop_local() { return pop_from(queue_); }
  std::optional<Notified> pop_injected() {
    const std::lock_guard lock(mutex_);
    return pop_from(injected_);
  }
  template <typename F>
  void for_each_owned(F visit) {
    for (const auto& [job, waker] : jobs_) visit(*job);
  }
  std::optional<Notified> notify_for_tracing(Job& job) {
    JobState idle = JobState::kIdle;
    if (!job.state.compare_exchange_strong(idle, JobState::kDue)) return {};
    return job.shared_from_this();
  }
  Id id(const Job& job) const { return job.name; }
  Job& task(const Notified& job) const { return *job; }
  void defer(const Notified& job) { deferred_.push_back(job); }
  void wake_deferred() {
    for (const Waker& job : std::exchange(deferred_, {})) {
      deferred_wakes++;
      wake(job);
    }
  }
  void run(Notified job) { poll(job); }

  // All tasks' traces; each is polled once.
  asynctrace::Traces<Id> trace() {
    enter(this);
    return asynctrace::trace_current_thread(*this, &reactor().repoll());
  }

  size_t deferred_wakes = 0;

 private:
  void schedule(Waker job) override {
    if (current() == this) return queue_.push_back(std::move(job));
    const std::lock_guard lock(mutex_);
    injected_.push_back(std::move(job));
    reactor().wake_up();
  }
  void forget(const Waker& job) override { jobs_.erase(job.get()); }

  static std::optional<Waker> pop_from(std::deque<Waker>& queue) {
    if (queue.empty()) return {};
    Waker job = std::move(queue.front());
    queue.pop_front();
    return job;
  }
  std::optional<Waker> pop() {
    auto job = pop_local();
    return job ? std::move(job) : pop_injected();
  }

  std::unordered_map<Job*, Waker> jobs_;
  std::deque<Waker> queue_, injected_;
  std::mutex mutex_;  // of injected_
  std::vector<Waker> deferred_;
};

}  // namespace native
