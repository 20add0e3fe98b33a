// Traces of all tasks of a runtime, by polling each of them once under Trace::capture(): tokio's
// trace_current_thread and trace_multi_thread, over a small concept.
#pragma once

#include <concepts>
#include <optional>
#include <utility>
#include <vector>

#include "asynctrace/meeting.hpp"
#include "asynctrace/repoll.hpp"
#include "asynctrace/trace.hpp"

namespace asynctrace {

// What the algorithms need of a runtime. A Notified is a task that is due to be polled and is in no queue.
template <typename R>
concept TraceableRuntime = requires(R& runtime, typename R::Task& task, typename R::Notified& notified) {
  // Of the queue of the worker; where there are several workers, of any of them.
  { runtime.pop_local() } -> std::same_as<std::optional<typename R::Notified>>;
  // Of what others have sent.
  { runtime.pop_injected() } -> std::same_as<std::optional<typename R::Notified>>;
  // Calls the function with every task that has not ended, its list being locked.
  runtime.for_each_owned([](typename R::Task&) {});
  // Makes it due to be polled; nothing if it is so already, runs or has ended.
  { runtime.notify_for_tracing(task) } -> std::same_as<std::optional<typename R::Notified>>;
  { runtime.id(task) } -> std::same_as<typename R::Id>;  // copied into the traces
  { runtime.task(notified) } -> std::same_as<typename R::Task&>;
  runtime.run(std::move(notified));  // polls it; it may end, no exception gets out
  runtime.defer(notified);           // keeps it
  runtime.wake_deferred();           // wakes those that it has kept, and forgets them
};

template <typename R>
concept MultiThreadRuntime = TraceableRuntime<R> && requires(R& runtime, typename R::Task& task) {
  { runtime.is_running(task) } -> std::same_as<bool>;  // some worker polls it
};

enum class TraceSource {
  kPolled,   // the trace is what its poll has met
  kRunning,  // a worker was in its poll
  kPassive,  // not polled, for not all workers came: the events that it told of say where it waits
};

template <typename Id>
struct TaskTrace {
  Id id;
  const void* address;  // of the runtime's Task
  TraceSource source;
  Trace trace;
};
template <typename Id>
using Traces = std::vector<TaskTrace<Id>>;

template <typename Id>
struct MultiThreadTraces {
  Traces<Id> tasks;
  size_t missing_workers = 0;  // did not come in time; then no task was polled
};

namespace detail {

template <TraceableRuntime R>
Traces<typename R::Id> trace_owned(R& runtime, RepollAnswer& answer) {
  std::vector<typename R::Notified> notified;
  while (auto task = runtime.pop_local()) notified.push_back(std::move(*task));
  while (auto task = runtime.pop_injected()) notified.push_back(std::move(*task));
  // Those taken from the queues are notified already. No poll happens in here: a task that ends wants to
  // leave the list, which is locked.
  runtime.for_each_owned([&](typename R::Task& task) {
    if (auto fresh = runtime.notify_for_tracing(task)) notified.push_back(std::move(*fresh));
  });
  Traces<typename R::Id> traces;
  traces.reserve(notified.size());
  for (typename R::Notified& task : notified) {
    traces.push_back({runtime.id(runtime.task(task)), &runtime.task(task), TraceSource::kPolled, {}});
    runtime.defer(task);  // before the poll, which may end it
    traces.back().trace = Trace::capture([&] { runtime.run(std::move(task)); }).trace;
    answer.add(traces.back().address, traces.back().trace);  // before the address can be another task's
  }
  runtime.wake_deferred();
  return traces;
}

template <MultiThreadRuntime R>
Traces<typename R::Id> list_owned(R& runtime) {
  Traces<typename R::Id> traces;
  runtime.for_each_owned([&](typename R::Task& task) {
    const auto source = runtime.is_running(task) ? TraceSource::kRunning : TraceSource::kPassive;
    traces.push_back({runtime.id(task), &task, source, {}});
  });
  return traces;
}

}  // namespace detail

// On the thread that runs the runtime, between two of its polls. Answers `repoll`, where that is due.
template <TraceableRuntime R>
Traces<typename R::Id> trace_current_thread(R& runtime, const Repoll* repoll = nullptr) {
  detail::RepollAnswer answer(repoll, 1);
  return detail::trace_owned(runtime, answer);
}

// By each worker, between two of its polls, while meeting.called(). Where all come they wait here while the
// one that leads polls the tasks; it gets the traces, the others nothing. If some do not come in time nothing
// is polled and nobody waits: one worker gets the list of the tasks, as they are. Answers `repoll`, where
// that is due.
template <MultiThreadRuntime R>
std::optional<MultiThreadTraces<typename R::Id>> trace_multi_thread(R& runtime, Meeting& meeting,
                                                                    size_t worker,
                                                                    const Repoll* repoll = nullptr) {
  const Meeting::Role role = meeting.come(worker);
  if (role == Meeting::Role::kNone) return {};
  struct End {
    ~End() { meeting.end(); }
    Meeting& meeting;
  } end{meeting};
  MultiThreadTraces<typename R::Id> traces;
  detail::RepollAnswer answer(repoll, meeting.workers());
  traces.missing_workers = meeting.missing_workers();
  answer.set_missing_workers(traces.missing_workers);
  const bool all = role == Meeting::Role::kLead;
  traces.tasks = all ? detail::trace_owned(runtime, answer) : detail::list_owned(runtime);
  return traces;
}

}  // namespace asynctrace
