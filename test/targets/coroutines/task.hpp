// Hand-written coroutine types as programs have them: a lazy task with symmetric transfer, a task that nobody
// awaits, a generator, and an event to wait for.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "truth.hpp"

struct Event {
  struct Awaiter {
    Event& event;
    Here here;
    bool await_ready() { return false; }
    void await_suspend(std::coroutine_handle<> waiting) {
      suspended(waiting, here);
      event.waiting.push_back(waiting);
    }
    void await_resume() {}
  };
  Awaiter wait(Here here = {}) { return {*this, here}; }

  // Of those that wait, the one with this number.
  void wake(size_t number) {
    const auto chosen = waiting[number];
    waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(number));
    chosen.resume();
  }
  std::vector<std::coroutine_handle<>> waiting;
};

template <typename T>
struct Task {
  struct Final {
    bool await_ready() noexcept { return false; }
    template <typename Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) noexcept {
      {
        const std::lock_guard lock(truth_lock);
        truth[self.address()] = {"ended", 0, nullptr};
      }
      return self.promise().continuation;
    }
    void await_resume() noexcept {}
  };
  struct promise_type : Known<promise_type> {
    T value{};
    std::coroutine_handle<> continuation = std::noop_coroutine();
    Task get_return_object() { return Task(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    Final final_suspend() noexcept { return {}; }
    void unhandled_exception() { std::terminate(); }
    void return_value(T result) { value = result; }
  };

  explicit Task(std::coroutine_handle<promise_type> made) : handle(made) {}
  Task(Task&& from) noexcept : handle(std::exchange(from.handle, nullptr)) {}
  Task& operator=(Task&& from) noexcept {
    std::swap(handle, from.handle);
    return *this;
  }
  ~Task() {
    if (handle) handle.destroy();
  }

  struct Awaiter {
    std::coroutine_handle<promise_type> handle;
    Here here;
    bool await_ready() { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiting) {
      suspended(awaiting, here);
      {
        const std::lock_guard lock(truth_lock);
        truth[handle.address()].awaited_by = awaiting.address();
      }
      handle.promise().continuation = awaiting;
      return handle;
    }
    T await_resume() { return handle.promise().value; }
  };
  Awaiter done(Here here = {}) & { return {handle, here}; }
  Awaiter done(Here here = {}) && { return {handle, here}; }

  std::coroutine_handle<promise_type> handle;
};

// Begins at once and destroys itself at its end.
struct Detached {
  struct promise_type : Known<promise_type> {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void unhandled_exception() { std::terminate(); }
    void return_void() {}
  };
};

struct Generator {
  struct Yielded {
    Here here;
    bool await_ready() noexcept { return false; }
    void await_suspend(std::coroutine_handle<> self) noexcept { suspended(self, here); }
    void await_resume() noexcept {}
  };
  struct Final {
    bool await_ready() noexcept { return false; }
    void await_suspend(std::coroutine_handle<> self) noexcept {
      truth[self.address()] = {"ended", 0, nullptr};
    }
    void await_resume() noexcept {}
  };
  struct Next {
    int value;
    Here here = {};
  };
  struct promise_type : Known<promise_type> {
    int value = 0;
    Generator get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    Final final_suspend() noexcept { return {}; }
    Yielded yield_value(Next next) {
      value = next.value;
      return {next.here};
    }
    void unhandled_exception() { std::terminate(); }
    void return_void() {}
  };
  std::coroutine_handle<promise_type> handle;
};
