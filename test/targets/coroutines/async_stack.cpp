// Coroutines that keep async stack frames as folly's do, in the places where folly has them: tasks that a
// detached coroutine starts, none of which its code calls, and wrappers around an event that is no coroutine.
// Prints the truth and waits for the end of stdin.
#include <cstdint>
#include <memory>
#include <vector>

#include "truth.hpp"

extern "C" {
volatile uintptr_t __folly_suspended_frame_cookie = 0x5c0ff1e5c0ff1e5;
}

struct AsyncStackFrame {
  AsyncStackFrame* parent = nullptr;
  void* return_address = nullptr;
  void* root = nullptr;
};
static AsyncStackFrame detached_root;

// As of folly::coro::Task: {continuation and what handles its errors, frame, executor, ..}.
struct Task {
  struct Final {
    bool await_ready() noexcept { return false; }
    template <typename Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) noexcept {
      return self.promise().continuation;
    }
    void await_resume() noexcept {}
  };
  struct promise_type : Known<promise_type> {
    std::coroutine_handle<> continuation;
    void* errors = nullptr;
    AsyncStackFrame frame;
    void* executor = nullptr;
    AsyncStackFrame& async_frame() { return frame; }
    Task get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    Final final_suspend() noexcept { return {}; }
    void unhandled_exception() { std::terminate(); }
    void return_void() {}
  };
  std::coroutine_handle<promise_type> handle;
};

// As of folly::coro::detail::InlineTaskDetached: a frame and nothing else.
struct Detached {
  struct promise_type : Known<promise_type> {
    AsyncStackFrame frame{&detached_root, __builtin_return_address(0)};
    AsyncStackFrame& async_frame() { return frame; }
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void unhandled_exception() { std::terminate(); }
    void return_void() {}
  };
};

// As of folly::coro::detail::ViaCoroutine: {virtual functions, executor, continuation, frame, context}. What
// is awaited gets its handle in place of that of the task.
struct Wrapper {
  struct promise_type : Known<promise_type> {
    void *functions = nullptr, *executor = nullptr;
    std::coroutine_handle<> continuation;
    void* errors = nullptr;
    AsyncStackFrame leaf;
    std::shared_ptr<int> context;
    Wrapper get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    Task::Final final_suspend() noexcept { return {}; }
    void unhandled_exception() { std::terminate(); }
    void return_void() {}
  };
  std::coroutine_handle<promise_type> handle;
};
static Wrapper make_wrapper() {
  co_return;
}

template <typename Promise>
static void is_awaited(void* self, std::coroutine_handle<Promise> by, Here here) {
  truth[self].awaited_by = by.address();
  suspended(by, here);
}

struct TaskAwaiter {
  Task task;
  Here here;
  bool await_ready() { return false; }
  template <typename Promise>
  __attribute__((noinline)) std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> by) {
    Task::promise_type& promise = task.handle.promise();
    promise.continuation = by;
    promise.frame = {&by.promise().async_frame(), __builtin_return_address(0)};
    is_awaited(task.handle.address(), by, here);
    return task.handle;
  }
  void await_resume() { task.handle.destroy(); }
};

struct Baton {
  std::vector<std::coroutine_handle<>> waiting;
};
struct BatonAwaiter {
  Baton& baton;
  Here here;
  Wrapper wrapper = make_wrapper();
  bool await_ready() { return false; }
  template <typename Promise>
  __attribute__((noinline)) void await_suspend(std::coroutine_handle<Promise> by) {
    Wrapper::promise_type& promise = wrapper.handle.promise();
    promise.continuation = by;
    promise.leaf = {&by.promise().async_frame(), __builtin_return_address(0),
                    reinterpret_cast<void*>(__folly_suspended_frame_cookie)};
    is_awaited(wrapper.handle.address(), by, here);
    baton.waiting.push_back(wrapper.handle);
  }
  void await_resume() {}
};

static TaskAwaiter await(Task task, Here here = {}) {
  return {task, here};
}
static BatonAwaiter await(Baton& baton, Here here = {}) {
  return {baton, here};
}

static Baton baton;
static Task inner(int count) {
  if (count > 0) co_await await(inner(count - 1));
  co_await await(baton);
}
static Task outer(int count) {
  co_await await(inner(count));
}
static Detached start(Task task) {
  co_await await(task);
}

int main() {
  for (int count = 0; count < 3; ++count) start(outer(count));
  // Neither of these waits for anything.
  const Task not_awaited = outer(0);
  const Wrapper not_used = make_wrapper();
  print_truth();
  wait_for_end_of_input();
  _exit(not_awaited.handle == not_used.handle);
}
