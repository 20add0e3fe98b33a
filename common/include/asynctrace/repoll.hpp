// A runtime that polls its tasks when `asynctrace dump --repoll` asks for it:
//
//   asynctrace::Repoll repoll;                                             // as long as the runtime
//   if (repoll.fd() >= 0) epoll_ctl(..., EPOLL_CTL_ADD, repoll.fd(), ..);  // readable: read it empty
//
//   if (repoll.due()) asynctrace::trace_current_thread(runtime, &repoll);  // at each turn of the loop
#pragma once

#include "asynctrace/trace.hpp"

namespace asynctrace {

class Repoll {
 public:
  Repoll() { asynctrace_repoll_open(&repoll_); }
  ~Repoll() { asynctrace_repoll_close(&repoll_); }
  Repoll(const Repoll&) = delete;
  Repoll& operator=(const Repoll&) = delete;

  // For the poll loop to watch: what wakes it when it sleeps. -1: there is no agent, or no more such
  // descriptor (inotify) to be had; a dump then waits for a turn of the loop.
  int fd() const { return repoll_.fd; }

  // Whether a dump waits for an answer. Any thread, between two polls.
  bool due() const { return asynctrace_repoll_due(&repoll_) != 0; }

  const asynctrace_repoll& handle() const { return repoll_; }

 private:
  asynctrace_repoll repoll_;
};

namespace detail {

// Ends with its scope. Says nothing where nobody has asked.
class RepollAnswer {
 public:
  RepollAnswer(const Repoll* repoll, size_t workers) {
    result_.workers = static_cast<uint32_t>(workers);
    if (repoll == nullptr || !repoll->due()) return;
    handle_ = &repoll->handle();
    asynctrace_repoll_begin(handle_);
  }
  ~RepollAnswer() {
    if (handle_ != nullptr) asynctrace_repoll_end(handle_, &result_);
  }
  RepollAnswer(const RepollAnswer&) = delete;
  RepollAnswer& operator=(const RepollAnswer&) = delete;

  void add(const void* task, const Trace& trace) {
    result_.tasks++;
    if (handle_ == nullptr) return;
    for (const Trace::Backtrace& pcs : trace.backtraces())
      asynctrace_repoll_leaf(handle_, task, pcs.data(), pcs.size());
  }
  void set_missing_workers(size_t count) { result_.missing_workers = static_cast<uint32_t>(count); }

 private:
  const asynctrace_repoll* handle_ = nullptr;
  asynctrace_repoll_result result_{};
};

}  // namespace detail

}  // namespace asynctrace
