// Traces of tasks, after tokio's runtime::task::trace, by the same names: frames between a leaf and its root,
// collected while the runtime polls a task under Trace::capture().
#pragma once

#include <functional>
#include <iosfwd>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "asynctrace.h"

namespace asynctrace {

// What trace_leaf() tells a leaf to do.
enum class Poll { kReady, kPending };

// At a leaf, before it arms anything. kPending: it was recorded, and must return to its caller as if it were
// not ready. kReady: go on.
[[gnu::always_inline]] inline Poll trace_leaf() {
  return asynctrace_trace_leaf() != 0 ? Poll::kPending : Poll::kReady;
}

// Whether the task that this thread polls is being traced.
[[gnu::always_inline]] inline bool is_tracing() {
  return asynctrace_is_tracing() != 0;
}

// A boundary for the rest of its scope. A local variable; where the exception goes, it ends.
class Frame {
 public:
  [[gnu::always_inline]] Frame(asynctrace_frame_kind kind, const void* subject) {
    asynctrace_enter(&frame_, kind, subject);
  }
  [[gnu::always_inline]] ~Frame() { asynctrace_leave(&frame_); }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;

 private:
  asynctrace_frame frame_;
};

// One poll of a task: its root, and the events of its begin and end.
class PollFrame : public Frame {
 public:
  [[gnu::always_inline]] explicit PollFrame(const void* task) : Frame(ASYNCTRACE_POLL, task) {}
};

// What this thread traces at the moment. Only where an agent listens.
class Context {
 public:
  // Calls `f` with it; nothing without an agent.
  template <typename F>
  static auto try_with_current(F&& f) -> std::optional<std::invoke_result_t<F, const Context&>> {
    if (asynctrace_hooks_since_(1) == nullptr) return std::nullopt;
    return std::invoke(std::forward<F>(f), Context());
  }

  // The root or poll that bounds a trace from here; null: none.
  const asynctrace_frame* active_frame() const {
    const asynctrace_frame* frame = asynctrace_active_frame();
    while (frame != nullptr && frame->kind == ASYNCTRACE_AWAIT) frame = frame->parent;
    return frame;
  }
  bool is_tracing() const { return asynctrace_is_tracing() != 0; }
};

using TraceMeta = asynctrace_trace_meta;

namespace detail {

template <typename Leaf>
struct Collector : asynctrace_collector {
  explicit Collector(Leaf& f) : function(f) {
    leaf = [](asynctrace_collector* self, const TraceMeta* meta) {
      struct Over {
        asynctrace_collector* self;
        ~Over() { self->busy = 0; }
      } over{self};
      static_cast<Collector*>(self)->function(*meta);
    };
    asynctrace_trace_enter(this);
  }
  ~Collector() { asynctrace_trace_leave(this); }
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

  Leaf& function;
};

}  // namespace detail

// Runs `f`; at each leaf inside calls `leaf`, which may take a backtrace. They nest: the inner one is called.
template <typename F, typename Leaf>
decltype(auto) trace_with(F&& f, Leaf&& leaf) {
  const detail::Collector<std::remove_reference_t<Leaf>> collector(leaf);
  return std::invoke(std::forward<F>(f));
}

// A function whose calls bound traces from above: frames below it, up to the leaf, belong to the trace.
template <typename F>
class Root {
 public:
  explicit Root(F f) : function_(std::move(f)) {}

  template <typename... Args>
  [[gnu::noinline]] decltype(auto) operator()(Args&&... args) {
    const Frame frame(ASYNCTRACE_ROOT, this);
    return std::invoke(function_, std::forward<Args>(args)...);
  }

 private:
  F function_;
};

template <typename R>
struct Captured;

// The backtraces of all leaves that were hit.
class Trace {
 public:
  using Backtrace =
      std::vector<const void*>;  // return addresses, innermost first; none where there is no root

  // Runs `f`, returns its result and the trace of every leaf hit inside. Empty without an agent.
  template <typename F>
  [[gnu::noinline]] static Captured<std::invoke_result_t<F>> capture(F&& f);

  template <typename F>
  static Root<std::decay_t<F>> root(F&& f) {
    return Root<std::decay_t<F>>(std::forward<F>(f));
  }

  std::span<const Backtrace> backtraces() const { return backtraces_; }

  // Takes the backtrace of the leaf that is being traced.
  void push_backtrace(const TraceMeta& meta) {
    Backtrace pcs(64);
    size_t count = asynctrace_backtrace(&meta, pcs.data(), pcs.size());
    if (count > pcs.size()) {
      pcs.resize(count);
      count = asynctrace_backtrace(&meta, pcs.data(), pcs.size());
    }
    pcs.resize(count);
    backtraces_.push_back(std::move(pcs));
  }

 private:
  std::vector<Backtrace> backtraces_;
};

template <typename R>
struct Captured {
  R result;
  Trace trace;
};
template <>
struct Captured<void> {
  Trace trace;
};

template <typename F>
Captured<std::invoke_result_t<F>> Trace::capture(F&& f) {
  Trace trace;
  const auto leaf = [&trace](const TraceMeta& meta) { trace.push_backtrace(meta); };
  if constexpr (std::is_void_v<std::invoke_result_t<F>>) {
    trace_with(std::forward<F>(f), leaf);
    return {std::move(trace)};
  } else {
    auto&& result = trace_with(std::forward<F>(f), leaf);
    return {std::forward<decltype(result)>(result), std::move(trace)};
  }
}

}  // namespace asynctrace
