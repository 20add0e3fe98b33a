// Who awaits whom, for C++20 coroutines: a resumed coroutine has none of its awaiters on its stack. A task
// type takes part with two lines:
//
//   struct promise_type : asynctrace::TracedPromise { ... };         // 1
//
//   auto await_suspend(std::coroutine_handle<> awaiting) {           // of the task, or of its awaiter
//     handle.promise().awaited_by_current();                         // 2
//     handle.promise().continuation = awaiting;
//     return handle;
//   }
//
// Any await in such a coroutine is then a level of the traces of whatever it awaits, by its own line. A
// promise that has an await_transform of its own returns trace_await(the awaitable) from it.
#pragma once

#include <coroutine>
#include <type_traits>
#include <utility>

#include "asynctrace/trace.hpp"

namespace asynctrace {

// The coroutine that awaits in this thread, for its awaiter to remember: a leaf that is polled later, from
// the runtime, is traced there by Frame(ASYNCTRACE_AWAIT, it). Null: none, or none that is traced.
[[gnu::always_inline]] inline const asynctrace_coroutine* current_coroutine() {
  const asynctrace_frame* frame = asynctrace_active_frame();
  const bool awaits = frame != nullptr && frame->kind == ASYNCTRACE_AWAIT;
  return awaits ? static_cast<const asynctrace_coroutine*>(frame->subject) : nullptr;
}

namespace detail {

template <typename A>
decltype(auto) get_awaiter(A&& awaitable) {
  if constexpr (requires { std::forward<A>(awaitable).operator co_await(); }) {
    return std::forward<A>(awaitable).operator co_await();
  } else if constexpr (requires { operator co_await(std::forward<A>(awaitable)); }) {
    return operator co_await(std::forward<A>(awaitable));
  } else {
    return std::forward<A>(awaitable);
  }
}

// Wraps the awaiter of one co_await. Every call inside is inlined into the coroutine but suspend(), which
// stands for it on the stack while the inner awaiter runs.
template <typename Awaiter>
class TracedAwaiter {
 public:
  template <typename A>
  [[gnu::always_inline]] TracedAwaiter(A&& awaitable, asynctrace_coroutine* coroutine)
      : awaiter_(get_awaiter(std::forward<A>(awaitable))), coroutine_(coroutine) {}

  [[gnu::always_inline]] bool await_ready() {
    if (coroutine_ == nullptr) return awaiter_.await_ready();
    return ready(*this);
  }

  template <typename Promise>
  [[gnu::always_inline]] auto await_suspend(std::coroutine_handle<Promise> handle) {
    if (coroutine_ == nullptr) return awaiter_.await_suspend(handle);
    return suspend(*this, handle);
  }

  [[gnu::always_inline]] decltype(auto) await_resume() { return awaiter_.await_resume(); }

 private:
  [[gnu::noinline]] static bool ready(TracedAwaiter& self) {
    const Frame frame(ASYNCTRACE_AWAIT, self.coroutine_);
    return self.awaiter_.await_ready();
  }

  // Once it has suspended, the coroutine and this awaiter may be gone: only `frame` is touched.
  template <typename Promise>
  [[gnu::noinline]] static auto suspend(TracedAwaiter& self, std::coroutine_handle<Promise> handle) {
    const Frame frame(ASYNCTRACE_AWAIT, self.coroutine_);
    return self.awaiter_.await_suspend(handle);
  }

  Awaiter awaiter_;
  asynctrace_coroutine* coroutine_;  // null: no agent
};

}  // namespace detail

// The base of a promise: one level of the logical call chain.
class TracedPromise {
 public:
  TracedPromise() = default;
  TracedPromise(const TracedPromise&) = delete;
  TracedPromise& operator=(const TracedPromise&) = delete;

  template <typename A>
  [[gnu::always_inline]] auto await_transform(A&& awaitable) {
    return trace_await(std::forward<A>(awaitable));
  }

  // The coroutine that is just awaiting, on this thread, awaits this one. Call it in the await_suspend() of
  // the task, or where a combinator starts it. It must outlive this one, as its handle must.
  [[gnu::always_inline]] void awaited_by_current() { coroutine_.awaited_by = current_coroutine(); }

 protected:
  template <typename A>
  [[gnu::always_inline]] auto trace_await(A&& awaitable) {
    using Awaiter = decltype(detail::get_awaiter(std::forward<A>(awaitable)));
    asynctrace_coroutine* traced = nullptr;
    if (__builtin_expect(asynctrace_hooks_since_(1) != nullptr, 0)) {
      coroutine_.await_site = asynctrace_here();
      traced = &coroutine_;
    }
    return detail::TracedAwaiter<Awaiter>(std::forward<A>(awaitable), traced);
  }

 private:
  asynctrace_coroutine coroutine_{nullptr, nullptr};
};

}  // namespace asynctrace
