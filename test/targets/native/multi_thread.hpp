// A runtime of several workers: each has a queue and steals from the others; what comes from outside is
// injected. The first worker that has nothing to do waits for timers and sockets, the others for work.
#pragma once

#include <condition_variable>
#include <deque>
#include <thread>
#include <unordered_map>

#include "leaves.hpp"

namespace native {

class MultiThread final : public Runtime {
 public:
  using Task = Job;
  using Notified = Waker;
  using Id = std::string;
  using Traces = asynctrace::MultiThreadTraces<Id>;

  explicit MultiThread(size_t workers, std::chrono::milliseconds patience = std::chrono::milliseconds(250))
      : meeting_(workers, patience), workers_(workers) {
    for (size_t i = 0; i < workers; i++) workers_[i].thread = std::thread([this, i] { work(i); });
  }
  ~MultiThread() override {
    {
      const std::lock_guard lock(idle_mutex_);
      stopping_ = true;
    }
    wake_all_workers();
    for (Worker& worker : workers_) worker.thread.join();
    for (const auto& [job, waker] : jobs_) drop(*job);
  }

  // Any thread.
  Waker spawn(native::Task<void> task, std::string name) {
    const Waker job = std::make_shared<Job>(std::move(task), std::move(name));
    asynctrace_task_created(job.get(), "multi_thread", job->name.c_str(), nullptr);
    {
      const std::lock_guard lock(jobs_mutex_);
      jobs_.emplace(job.get(), job);
    }
    job->make_due();
    schedule(job);
    return job;
  }

  // Until all tasks have ended.
  void wait() {
    std::unique_lock lock(jobs_mutex_);
    jobs_changed_.wait(lock, [this] { return jobs_.empty(); });
  }

  // A dump, from outside; one at a time.
  Traces trace() {
    const std::lock_guard one_at_a_time(trace_mutex_);
    std::unique_lock lock(idle_mutex_);
    traces_.reset();
    meeting_.call();
    lock.unlock();
    wake_all_workers();
    lock.lock();
    traced_.wait(lock, [this] { return traces_.has_value(); });
    return std::move(*traces_);
  }

  // asynctrace::MultiThreadRuntime
  std::optional<Notified> pop_local() {
    for (Worker& worker : workers_)
      if (auto job = pop_from(worker)) return job;
    return {};
  }
  std::optional<Notified> pop_injected() { return pop_from(injected_); }
  template <typename F>
  void for_each_owned(F visit) {
    const std::lock_guard lock(jobs_mutex_);
    for (const auto& [job, waker] : jobs_) visit(*job);
  }
  std::optional<Notified> notify_for_tracing(Job& job) {
    JobState idle = JobState::kIdle;
    if (!job.state.compare_exchange_strong(idle, JobState::kDue)) return {};
    return job.shared_from_this();
  }
  bool is_running(const Job& job) const {
    const JobState state = job.state;
    return state == JobState::kRunning || state == JobState::kRunningDue;
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

  std::atomic<size_t> deferred_wakes{0};
  std::atomic<size_t> stolen{0};

 private:
  struct Queue {
    std::mutex mutex;
    std::deque<Waker> jobs;
  };
  struct Worker : Queue {
    std::thread thread;
  };
  // Between so many of its own tasks a worker looks at the injected ones.
  static constexpr unsigned kInjectedEvery = 61;

  void work(size_t index) {
    enter(this);
    worker_ = &workers_[index];
    for (unsigned turn = 0; !stopping_; turn++) {
      if (reactor().repoll().due() && meeting_.call(reactor().repoll())) wake_all_workers();
      if (meeting_.called()) meet(index);
      auto job = turn % kInjectedEvery == 0 ? pop_injected() : std::nullopt;
      if (!job) job = pop_from(*worker_);
      if (!job) job = pop_injected();
      if (!job) job = steal(index);
      if (job) poll(*job);
      else park();
    }
    worker_ = nullptr;
  }

  void meet(size_t index) {
    auto traces = asynctrace::trace_multi_thread(*this, meeting_, index, &reactor().repoll());
    if (!traces) return;
    const std::lock_guard lock(idle_mutex_);
    traces_ = std::move(traces);
    traced_.notify_one();
  }

  void schedule(Waker job) override {
    Queue& queue = current() == this && worker_ != nullptr ? *worker_ : injected_;
    {
      const std::lock_guard lock(queue.mutex);
      queue.jobs.push_back(std::move(job));
    }
    const std::lock_guard lock(idle_mutex_);
    if (sleeping_ > 0) work_.notify_one();
    else if (waiting_) reactor().wake_up();
  }
  void forget(const Waker& job) override {
    const std::lock_guard lock(jobs_mutex_);
    jobs_.erase(job.get());
    if (jobs_.empty()) jobs_changed_.notify_all();
  }

  static std::optional<Waker> pop_from(Queue& queue) {
    const std::lock_guard lock(queue.mutex);
    if (queue.jobs.empty()) return {};
    Waker job = std::move(queue.jobs.front());
    queue.jobs.pop_front();
    return job;
  }

  // Half of what another worker has; one of these.
  std::optional<Waker> steal(size_t thief) {
    for (size_t i = 1; i < workers_.size(); i++) {
      Worker& victim = workers_[(thief + i) % workers_.size()];
      std::vector<Waker> loot;
      {
        const std::lock_guard lock(victim.mutex);
        for (size_t n = (victim.jobs.size() + 1) / 2; n > 0; n--) {
          loot.push_back(std::move(victim.jobs.front()));
          victim.jobs.pop_front();
        }
      }
      if (loot.empty()) continue;
      stolen += loot.size();
      const std::lock_guard lock(worker_->mutex);
      worker_->jobs.insert(worker_->jobs.end(), loot.begin() + 1, loot.end());
      return loot.front();
    }
    return {};
  }

  bool has_work() {
    const auto filled = [](Queue& queue) {
      const std::lock_guard lock(queue.mutex);
      return !queue.jobs.empty();
    };
    return filled(injected_) || std::any_of(workers_.begin(), workers_.end(), filled);
  }

  void wake_all_workers() {
    const std::lock_guard lock(idle_mutex_);
    work_.notify_all();
    reactor().wake_up();
  }

  // Whoever queues a task looks for sleepers afterwards, so that what is queued from here on wakes us.
  void park() {
    std::unique_lock lock(idle_mutex_);
    if (stopping_ || has_work()) return;
    const bool meeting = meeting_.called();
    if (!waiting_) {
      waiting_ = true;
      lock.unlock();
      const auto patience = meeting ? std::optional(std::chrono::milliseconds(0)) : std::nullopt;
      const std::vector<Waker> due = reactor().wait(patience);
      lock.lock();
      waiting_ = false;
      // Someone else waits for events while this worker polls what it has found.
      if (sleeping_ > 0) work_.notify_one();
      lock.unlock();
      for (const Waker& job : due) wake(job);
      if (!due.empty()) return;
    } else if (!meeting) {
      sleeping_++;
      work_.wait(lock);
      sleeping_--;
      return;
    } else {
      lock.unlock();
    }
    if (meeting) meeting_.pause();
  }

  static inline thread_local Worker* worker_ = nullptr;

  asynctrace::Meeting meeting_;
  std::mutex jobs_mutex_;
  std::condition_variable jobs_changed_;
  std::unordered_map<Job*, Waker> jobs_;
  Queue injected_;
  std::vector<Waker> deferred_;  // by the worker that leads
  std::mutex trace_mutex_;
  std::mutex idle_mutex_;  // of all below; no queue's is held when it is taken
  std::condition_variable work_, traced_;
  std::optional<Traces> traces_;
  size_t sleeping_ = 0;
  bool waiting_ = false;  // some worker is in the reactor
  std::atomic<bool> stopping_{false};
  std::vector<Worker> workers_;  // last: their threads use the rest
};

}  // namespace native
