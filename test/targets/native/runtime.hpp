// What the runtimes of this directory have in common: spawned tasks with their state, and the leaves where
// they wait. A task polls the leaf that it waits at, so that it may be polled at any time.
#pragma once

#include <atomic>
#include <coroutine>
#include <memory>
#include <string>
#include <utility>

#include "reactor.hpp"
#include "task.hpp"

namespace native {

class Leaf;

//           wake            poll             poll returns
//   kIdle -------> kDue ----------> kRunning -------------> kIdle, kEnded
//                    ^                 | wake
//                    |   poll returns  v
//                    `----------- kRunningDue
enum class JobState { kIdle, kDue, kRunning, kRunningDue, kEnded };

// A spawned task. Whoever may wake it holds a Waker; it is in a queue exactly while it is due.
struct Job : std::enable_shared_from_this<Job> {
  Job(Task<void> task, std::string job_name)
      : coroutine(std::move(task)), resume(coroutine->handle()), name(std::move(job_name)) {}

  // True: the caller has to queue it.
  bool make_due() {
    JobState seen = state.load(std::memory_order_acquire);
    for (;;) {
      if (seen != JobState::kIdle && seen != JobState::kRunning) return false;
      const bool idle = seen == JobState::kIdle;
      if (state.compare_exchange_weak(seen, idle ? JobState::kDue : JobState::kRunningDue)) return idle;
    }
  }
  bool ended() const { return state.load(std::memory_order_acquire) == JobState::kEnded; }

  std::optional<Task<void>> coroutine;  // until it ends
  std::coroutine_handle<> resume;       // where it goes on
  Leaf* leaf = nullptr;                 // what it waits at
  const std::string name;
  std::atomic<JobState> state{JobState::kIdle};
  std::atomic<int> polls{0};
};

class Runtime {
 public:
  virtual ~Runtime() = default;

  // Of the thread that calls: the one that it works for, and the task that it polls.
  static Runtime* current() { return current_; }
  static const Waker& polled() { return polled_; }

  Reactor& reactor() { return reactor_; }

  // Must stay 0.
  std::atomic<size_t> polls_after_end{0};

  // Any thread.
  void wake(const Waker& job) {
    asynctrace_task_woken(job.get());
    if (job->make_due()) schedule(job);
  }

 protected:
  // Queues a task that is due. Any thread.
  virtual void schedule(Waker job) = 0;
  // It has ended.
  virtual void forget(const Waker& job) = 0;

  void poll(const Waker& job);

  // The thread works for `runtime`, from now on.
  static void enter(Runtime* runtime) { current_ = runtime; }

  // Ends one that will not be polled again. Its leaves want to know their runtime.
  void drop(Job& job) {
    enter(this);
    if (job.state.exchange(JobState::kEnded) == JobState::kEnded) return;
    asynctrace_task_finished(&job);
    job.coroutine.reset();
  }

 private:
  static inline thread_local Runtime* current_ = nullptr;
  static inline thread_local Waker polled_;
  Reactor reactor_;
};

// What a task waits at. It arms itself once and may be polled again and again.
class Leaf {
 public:
  Leaf(const char* kind, asynctrace_leaf_class leaf_class) : kind_(kind), leaf_class_(leaf_class) {}
  virtual ~Leaf() { disarm(); }
  Leaf(const Leaf&) = delete;
  Leaf& operator=(const Leaf&) = delete;

  // Whether its task may go on. Not inlined: it stands for the leaf in traces.
  [[gnu::noinline]] bool poll() {
    if (asynctrace::trace_leaf() == asynctrace::Poll::kPending) return false;
    if (ready_or_arm(Runtime::polled())) return disarm(), true;
    if (!is_armed_ && tells()) armed_ = asynctrace_leaf_armed(kind_, leaf_class_, nullptr);
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
    Job& job = *Runtime::polled();
    job.resume = handle;
    job.leaf = this;
    if (!poll()) return true;
    job.leaf = nullptr;
    return false;
  }

 protected:
  // False: `waker` is woken once it is worth while to ask again.
  virtual bool ready_or_arm(const Waker& waker) = 0;
  // Whether it is an event of the task when it begins to wait.
  virtual bool tells() const { return true; }

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

inline void Runtime::poll(const Waker& job) {
  if (job->ended()) return void(polls_after_end++);
  job->state.store(JobState::kRunning, std::memory_order_release);
  job->polls++;
  {
    const asynctrace::PollFrame frame(job.get());
    polled_ = job;
    if (job->leaf == nullptr || job->leaf->poll_again()) {
      job->leaf = nullptr;
      job->resume.resume();
    }
    polled_ = nullptr;
  }
  if (job->coroutine->handle().done()) {
    drop(*job);
    return forget(job);
  }
  JobState running = JobState::kRunning;
  if (job->state.compare_exchange_strong(running, JobState::kIdle)) return;
  job->state.store(JobState::kDue, std::memory_order_release);
  schedule(job);
}

}  // namespace native
