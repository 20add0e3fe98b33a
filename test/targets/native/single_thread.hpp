// A runtime in one thread: a queue of jobs, timers, sockets over epoll, channels, wake-ups from other
// threads. Each job polls the leaf that it waits at, so that it may be polled at any time.
#pragma once

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "task.hpp"

namespace native {

using Clock = std::chrono::steady_clock;

class Leaf;

// A spawned task.
struct Job {
  explicit Job(Task<void> task) : coroutine(std::move(task)), resume(coroutine.handle()) {}
  Task<void> coroutine;
  std::coroutine_handle<> resume;  // where it goes on
  Leaf* leaf = nullptr;            // what it waits at
  std::string name;
  std::atomic<bool> notified{false};  // due to be polled: in a queue, or taken from one
  bool running = false;
  bool ended = false;
  int polls = 0;
  int polls_after_end = 0;
};

class SingleThread {
 public:
  using Task = Job;
  using Notified = Job*;

  SingleThread() : epoll_(epoll_create1(EPOLL_CLOEXEC)), wake_up_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    watch(wake_up_, nullptr);
  }
  ~SingleThread() {
    current_ = this;
    for (Job& job : jobs_)
      if (!job.ended) asynctrace_task_finished(&job);
    jobs_.clear();
    close(wake_up_);
    close(epoll_);
  }
  SingleThread(const SingleThread&) = delete;
  SingleThread& operator=(const SingleThread&) = delete;

  static SingleThread& current() { return *current_; }
  Job* job() const { return polled_; }

  // `site`: a code address, where that is told.
  Job* spawn(native::Task<void> task, std::string name, const void* site = nullptr) {
    Job& job = jobs_.emplace_back(std::move(task));
    job.name = std::move(name);
    asynctrace_task_created(&job, "single_thread", job.name.c_str(), site);
    schedule(&job);
    return &job;
  }

  // From this thread.
  void wake(Job* job) {
    asynctrace_task_woken(job);
    schedule(job);
  }
  // From any thread.
  void wake_from_outside(Job* job) {
    asynctrace_task_woken(job);
    if (job->notified.exchange(true)) return;
    const std::lock_guard lock(mutex_);
    injected_.push_back(job);
    eventfd_write(wake_up_, 1);
  }

  void add_timer(Clock::time_point when, Job* job) { timers_.emplace(when, job); }
  // A leaf that was polled again may be over before its event.
  void cancel_timer(Clock::time_point when, Job* job) {
    const auto [first, last] = timers_.equal_range(when);
    for (auto timer = first; timer != last; ++timer)
      if (timer->second == job) return void(timers_.erase(timer));
  }
  void unwatch(int fd) { epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr); }
  void watch(int fd, Job* job) {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLONESHOT;
    if (job == nullptr) event.events = EPOLLIN;
    event.data.ptr = job;
    if (epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event) != 0) epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
  }

  // Runs jobs until none is due, then waits for events, at most so long. False: all jobs have ended.
  bool turn(std::chrono::milliseconds patience = std::chrono::milliseconds(0)) {
    current_ = this;
    for (auto job = pop(); job; job = pop()) run(*job);
    jobs_.remove_if([](const Job& job) { return job.ended; });
    if (jobs_.empty()) return false;
    wait(patience);
    return true;
  }

  // asynctrace::TraceableRuntime
  std::optional<Notified> pop_local() {
    if (queue_.empty()) return {};
    Job* job = queue_.front();
    queue_.pop_front();
    return job;
  }
  std::optional<Notified> pop_injected() {
    const std::lock_guard lock(mutex_);
    if (injected_.empty()) return {};
    Job* job = injected_.front();
    injected_.pop_front();
    return job;
  }
  void for_each_owned(const std::function<void(Job&)>& visit) {
    for (Job& job : jobs_)
      if (!job.ended) visit(job);
  }
  std::optional<Notified> notify_for_tracing(Job& job) {
    if (job.running || job.ended || job.notified.exchange(true)) return {};
    return &job;
  }
  std::string id(Notified job) const { return job->name; }
  void defer(Notified job) { deferred_.push_back(job); }
  void run(Notified job);

  // All tasks' traces; each is polled once.
  auto trace() {
    current_ = this;
    auto traces = asynctrace::trace_current_thread(*this);
    for (Job* job : std::exchange(deferred_, {})) {
      deferred_wakes++;
      schedule(job);
    }
    return traces;
  }

  size_t deferred_wakes = 0;

 private:
  void schedule(Job* job) {
    if (job->ended || job->notified.exchange(true)) return;
    queue_.push_back(job);
  }
  std::optional<Notified> pop() {
    const auto job = pop_local();
    return job ? job : pop_injected();
  }
  void wait(std::chrono::milliseconds patience);

  static inline thread_local SingleThread* current_ = nullptr;
  Job* polled_ = nullptr;
  std::list<Job> jobs_;
  std::deque<Job*> queue_, injected_;
  std::mutex mutex_;  // of injected_
  std::vector<Job*> deferred_;
  std::multimap<Clock::time_point, Job*> timers_;
  int epoll_, wake_up_;
};

// What a task waits at. It arms itself once and may be polled again and again.
class Leaf {
 public:
  Leaf(const char* kind, asynctrace_leaf_class leaf_class) : kind_(kind), leaf_class_(leaf_class) {}
  virtual ~Leaf() { disarm(); }
  Leaf(const Leaf&) = delete;
  Leaf& operator=(const Leaf&) = delete;

  // Whether its task may go on.
  bool poll() {
    if (asynctrace::trace_leaf() == asynctrace::Poll::kPending) return false;
    if (ready()) return disarm(), true;
    arm(SingleThread::current().job());
    if (!is_armed_) armed_ = asynctrace_leaf_armed(kind_, leaf_class_, nullptr);
    is_armed_ = true;
    return false;
  }
  bool poll_again() {
    const asynctrace::Frame frame(ASYNCTRACE_AWAIT, coroutine_);
    return poll();
  }

  bool await_ready() const { return false; }
  bool await_suspend(std::coroutine_handle<> handle) {
    coroutine_ = asynctrace::current_coroutine();
    Job* job = SingleThread::current().job();
    job->resume = handle;
    job->leaf = this;
    if (!poll()) return true;
    job->leaf = nullptr;
    return false;
  }

 protected:
  virtual bool ready() = 0;
  virtual void arm(Job* job) = 0;

 private:
  void disarm() {
    if (is_armed_) asynctrace_leaf_ended(armed_);
    is_armed_ = false;
  }
  const char* kind_;
  asynctrace_leaf_class leaf_class_;
  const asynctrace_coroutine* coroutine_ = nullptr;
  uint64_t armed_ = 0;
  bool is_armed_ = false;
};

inline void SingleThread::run(Notified job) {
  if (job->ended) return void(job->polls_after_end++);
  const asynctrace::PollFrame frame(job);
  polled_ = job;
  job->notified.store(false);
  job->running = true;
  job->polls++;
  if (job->leaf == nullptr || job->leaf->poll_again()) {
    job->leaf = nullptr;
    job->resume.resume();
  }
  job->running = false;
  polled_ = nullptr;
  if (!job->coroutine.handle().done()) return;
  job->ended = true;
  asynctrace_task_finished(job);
}

inline void SingleThread::wait(std::chrono::milliseconds patience) {
  auto now = Clock::now();
  if (!queue_.empty()) patience = {};
  if (!timers_.empty())
    patience = std::min(patience,
                        std::max(std::chrono::milliseconds(0),
                                 std::chrono::ceil<std::chrono::milliseconds>(timers_.begin()->first - now)));
  epoll_event events[16];
  const int count = epoll_wait(epoll_, events, 16, static_cast<int>(patience.count()));
  for (int i = 0; i < count; i++) {
    eventfd_t ignored;
    if (events[i].data.ptr == nullptr) eventfd_read(wake_up_, &ignored);
    else wake(static_cast<Job*>(events[i].data.ptr));
  }
  now = Clock::now();
  while (!timers_.empty() && timers_.begin()->first <= now) {
    wake(timers_.begin()->second);
    timers_.erase(timers_.begin());
  }
}

class Sleep : public Leaf {
 public:
  explicit Sleep(Clock::duration time) : Leaf("sleep", ASYNCTRACE_TIMER), end_(Clock::now() + time) {}
  ~Sleep() override {
    if (job_ != nullptr) SingleThread::current().cancel_timer(end_, job_);
  }
  void await_resume() const {}

 private:
  bool ready() override { return Clock::now() >= end_; }
  void arm(Job* job) override {
    if (job_ == nullptr) SingleThread::current().add_timer(end_, job);
    job_ = job;
  }
  Clock::time_point end_;
  Job* job_ = nullptr;  // of its timer
};

// The next byte of a socket or pipe; nothing at its end.
class Read : public Leaf {
 public:
  explicit Read(int fd) : Leaf("socket read", ASYNCTRACE_IO), fd_(fd) {}
  ~Read() override {
    if (watched_) SingleThread::current().unwatch(fd_);
  }
  std::optional<char> await_resume() const { return byte_; }

 private:
  bool ready() override {
    char byte;
    const ssize_t n = read(fd_, &byte, 1);
    if (n == 1) byte_ = byte;
    return n >= 0;
  }
  void arm(Job* job) override {
    SingleThread::current().watch(fd_, job);
    watched_ = true;
  }
  int fd_;
  bool watched_ = false;
  std::optional<char> byte_;
};

template <typename T>
class Channel {
 public:
  void send(T value) {
    values_.push_back(std::move(value));
    if (Job* job = std::exchange(receiver_, nullptr)) SingleThread::current().wake(job);
  }

  class Receive : public Leaf {
   public:
    explicit Receive(Channel& channel) : Leaf("channel recv", ASYNCTRACE_CHANNEL), channel_(channel) {}
    ~Receive() override { channel_.receiver_ = nullptr; }
    T await_resume() {
      T value = std::move(channel_.values_.front());
      channel_.values_.pop_front();
      return value;
    }

   private:
    bool ready() override { return !channel_.values_.empty(); }
    void arm(Job* job) override { channel_.receiver_ = job; }
    Channel& channel_;
  };
  Receive receive() { return Receive(*this); }

 private:
  std::deque<T> values_;
  Job* receiver_ = nullptr;
};

}  // namespace native
