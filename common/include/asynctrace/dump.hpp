// Traces of all tasks of a runtime, by polling each of them once under Trace::capture(): tokio's
// trace_current_thread and trace_multi_thread, over a small concept.
#pragma once

#include <concepts>
#include <optional>
#include <utility>
#include <vector>

#include "asynctrace/trace.hpp"

namespace asynctrace {

// What the algorithms need of a runtime. A Notified is a task that is due to be polled and is in no queue.
template <typename R>
concept TraceableRuntime = requires(R& runtime, typename R::Task& task, typename R::Notified& notified) {
  { runtime.pop_local() } -> std::same_as<std::optional<typename R::Notified>>;  // of this worker's queue
  {
    runtime.pop_injected()
    } -> std::same_as<std::optional<typename R::Notified>>;  // of what others have sent
  // Calls the function with every task that has not ended, its list being locked.
  runtime.for_each_owned([](typename R::Task&) {});
  // Makes it due to be polled; nothing if it is so already, runs or has ended.
  { runtime.notify_for_tracing(task) } -> std::same_as<std::optional<typename R::Notified>>;
  { runtime.id(notified) } -> std::copyable;
  runtime.defer(notified);           // to be woken once the dump is over
  runtime.run(std::move(notified));  // polls it; it may end
};

template <TraceableRuntime R>
using Traces =
    std::vector<std::pair<decltype(std::declval<R&>().id(std::declval<typename R::Notified&>())), Trace>>;

namespace detail {

template <TraceableRuntime R>
Traces<R> trace_owned(R& runtime, std::vector<typename R::Notified> notified) {
  // Those taken from the queues are notified already. No poll happens in here: a task that ends wants to
  // leave the list, which is locked.
  runtime.for_each_owned([&](typename R::Task& task) {
    if (auto fresh = runtime.notify_for_tracing(task)) notified.push_back(std::move(*fresh));
  });
  Traces<R> traces;
  traces.reserve(notified.size());
  for (typename R::Notified& task : notified) {
    auto id = runtime.id(task);
    runtime.defer(task);  // before the poll, which may end it
    Captured<void> captured = Trace::capture([&] { runtime.run(std::move(task)); });
    traces.emplace_back(std::move(id), std::move(captured.trace));
  }
  return traces;
}

}  // namespace detail

// On the thread that runs the runtime, between two of its polls.
template <TraceableRuntime R>
Traces<R> trace_current_thread(R& runtime) {
  std::vector<typename R::Notified> notified;
  while (auto task = runtime.pop_local()) notified.push_back(std::move(*task));
  while (auto task = runtime.pop_injected()) notified.push_back(std::move(*task));
  return detail::trace_owned(runtime, std::move(notified));
}

}  // namespace asynctrace
