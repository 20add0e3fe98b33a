// What a task can wait for in either runtime: time, a socket, a channel.
#pragma once

#include <deque>

#include "runtime.hpp"

namespace native {

class Sleep : public Leaf {
 public:
  explicit Sleep(Clock::duration time) : Leaf("sleep", ASYNCTRACE_TIMER), end_(Clock::now() + time) {}
  ~Sleep() override {
    if (waker_) Runtime::current()->reactor().cancel_timer(end_, waker_);
  }
  void await_resume() const {}

 private:
  bool ready_or_arm(const Waker& waker) override {
    if (Clock::now() >= end_) return true;
    if (!waker_) Runtime::current()->reactor().add_timer(end_, waker);
    waker_ = waker;
    return false;
  }
  Clock::time_point end_;
  Waker waker_;  // of its timer
};

// The next byte of a socket or pipe; nothing at its end.
class Read : public Leaf {
 public:
  explicit Read(int fd) : Leaf("socket read", ASYNCTRACE_IO), fd_(fd) {}
  ~Read() override {
    if (watched_) Runtime::current()->reactor().unwatch(fd_);
  }
  std::optional<char> await_resume() const { return byte_; }

 private:
  bool ready_or_arm(const Waker& waker) override {
    char byte;
    const ssize_t n = read(fd_, &byte, 1);
    if (n == 1) byte_ = byte;
    if (n >= 0) return true;
    Runtime::current()->reactor().watch(fd_, waker);
    watched_ = true;
    return false;
  }
  int fd_;
  bool watched_ = false;
  std::optional<char> byte_;
};

// Of one receiver and any number of senders. A sender need not be a task; of which runtime the receiver is
// does not matter to it.
template <typename T>
class Channel {
 public:
  void send(T value) {
    Waker receiver;
    Runtime* runtime = nullptr;
    {
      const std::lock_guard lock(mutex_);
      values_.push_back(std::move(value));
      receiver = std::exchange(receiver_, nullptr);
      runtime = runtime_;
    }
    if (receiver) runtime->wake(receiver);
  }

  class Receive : public Leaf {
   public:
    explicit Receive(Channel& channel) : Leaf("channel recv", ASYNCTRACE_CHANNEL), channel_(channel) {}
    ~Receive() override {
      const std::lock_guard lock(channel_.mutex_);
      channel_.receiver_ = nullptr;
    }
    T await_resume() {
      const std::lock_guard lock(channel_.mutex_);
      T value = std::move(channel_.values_.front());
      channel_.values_.pop_front();
      return value;
    }

   private:
    bool ready_or_arm(const Waker& waker) override {
      const std::lock_guard lock(channel_.mutex_);
      if (!channel_.values_.empty()) return true;
      channel_.receiver_ = waker;
      channel_.runtime_ = Runtime::current();
      return false;
    }
    Channel& channel_;
  };
  Receive receive() { return Receive(*this); }

 private:
  std::mutex mutex_;
  std::deque<T> values_;
  Waker receiver_;
  Runtime* runtime_ = nullptr;  // the receiver's
};

}  // namespace native
