// The order of the steps of a dump, with a runtime that notes them; and how workers meet for it.
#include <asynctrace.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace asynctrace {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::SizeIs;

class NotingRuntime {
 public:
  struct Task {
    std::string name;
    bool notified = false, running = false;
  };
  using Notified = Task*;
  using Id = std::string;

  std::optional<Notified> pop_local() { return pop("local", local); }
  std::optional<Notified> pop_injected() { return pop("injected", injected); }
  void for_each_owned(const std::function<void(Task&)>& visit) {
    note("lock");
    for (Task& task : owned) visit(task);
    note("unlock");
  }
  std::optional<Notified> notify_for_tracing(Task& task) {
    note("notify " + task.name);
    if (task.notified || task.running) return {};
    return &task;
  }
  bool is_running(const Task& task) const { return task.running; }
  Id id(const Task& task) const { return task.name; }
  Task& task(Notified notified) const { return *notified; }
  void defer(Notified task) { note("defer " + task->name); }
  void run(Notified task) {
    note("run " + task->name);
    if (task->name == "bad") throw std::runtime_error("poll");
  }
  void wake_deferred() { note("wake"); }

  std::vector<Task> owned = {{"idle"}, {"queued", true}, {"sent", true}, {"busy", false, true}};
  std::vector<Task*> local = {&owned[1]}, injected = {&owned[2]};
  std::vector<std::string> steps;

 private:
  std::optional<Notified> pop(const char* from, std::vector<Task*>& queue) {
    if (queue.empty()) return {};
    Task* task = queue.back();
    queue.pop_back();
    note(from + (" " + task->name));
    return task;
  }
  void note(std::string step) { steps.push_back(std::move(step)); }
};

const std::vector<std::string> kSteps = {"local queued",  "injected sent", "lock",        "notify idle",
                                         "notify queued", "notify sent",   "notify busy", "unlock",
                                         "defer queued",  "run queued",    "defer sent",  "run sent",
                                         "defer idle",    "run idle",      "wake"};

TEST(NativeDump, StepsOfOneThread) {
  NotingRuntime runtime;
  const auto traces = trace_current_thread(runtime);
  EXPECT_EQ(runtime.steps, kSteps);
  ASSERT_THAT(traces, SizeIs(3));
  EXPECT_EQ(traces[0].id, "queued");
  EXPECT_EQ(traces[0].address, &runtime.owned[1]);
  EXPECT_EQ(traces[0].source, TraceSource::kPolled);
}

TEST(NativeDump, StepsOfSeveralWorkers) {
  NotingRuntime runtime;
  Meeting meeting(2, 60s);
  EXPECT_FALSE(trace_multi_thread(runtime, meeting, 0)) << "nobody has called";
  meeting.call();
  EXPECT_FALSE(trace_multi_thread(runtime, meeting, 0)) << "the other one has not been seen";
  EXPECT_THAT(runtime.steps, ElementsAre());
  std::optional<MultiThreadTraces<std::string>> dumps[2];
  const auto worker = [&](size_t number) {
    while (meeting.called())
      if (auto dump = trace_multi_thread(runtime, meeting, number)) dumps[number] = std::move(dump);
  };
  std::thread other(worker, 1);
  worker(0);
  other.join();
  EXPECT_EQ(runtime.steps, kSteps);
  EXPECT_NE(dumps[0].has_value(), dumps[1].has_value()) << "one leads";
  const auto& dump = dumps[0] ? *dumps[0] : *dumps[1];
  EXPECT_THAT(dump.tasks, SizeIs(3));
  EXPECT_EQ(dump.missing_workers, 0u);
}

TEST(NativeDump, APollThatThrowsLetsTheWorkersGo) {
  NotingRuntime runtime;
  runtime.owned[1].name = "bad";
  Meeting meeting(1, 60s);
  meeting.call();
  EXPECT_THROW(trace_multi_thread(runtime, meeting, 0), std::runtime_error);
  EXPECT_FALSE(meeting.called());
}

TEST(NativeDump, AWorkerThatDoesNotComeIsNotWaitedFor) {
  NotingRuntime runtime;
  Meeting meeting(2, 20ms);
  meeting.call();
  std::optional<MultiThreadTraces<std::string>> dump;
  while (!dump) dump = trace_multi_thread(runtime, meeting, 0);
  EXPECT_EQ(dump->missing_workers, 1u);
  EXPECT_THAT(runtime.steps, ElementsAre("lock", "unlock")) << "nothing is taken, notified or polled";
  std::vector<TraceSource> sources;
  for (const auto& task : dump->tasks) sources.push_back(task.source);
  EXPECT_THAT(sources, ElementsAre(TraceSource::kPassive, TraceSource::kPassive, TraceSource::kPassive,
                                   TraceSource::kRunning));
  EXPECT_FALSE(meeting.called());
}

TEST(NativeDump, AWorkerThatWasSeenAndThenStaysAwayIsNotWaitedFor) {
  Meeting meeting(2, 50ms);
  meeting.call();
  EXPECT_EQ(meeting.come(0), Meeting::Role::kNone);
  // Both were seen, so this one comes to the barrier, and leaves it again.
  EXPECT_EQ(meeting.come(1), Meeting::Role::kNone);
  EXPECT_TRUE(meeting.called());
  EXPECT_EQ(meeting.missing_workers(), 1u);
  Meeting::Role role = Meeting::Role::kNone;
  while (role == Meeting::Role::kNone) role = meeting.come(1);
  EXPECT_EQ(role, Meeting::Role::kAlone);
  EXPECT_EQ(meeting.come(0), Meeting::Role::kNone) << "it goes on with its tasks";
  meeting.end();
}

TEST(NativeDump, WorkersWithoutWorkPause) {
  Meeting meeting(2, 60s);
  meeting.pause();  // nobody has called: at once
  meeting.call();
  EXPECT_EQ(meeting.come(0), Meeting::Role::kNone);
  meeting.pause();  // a millisecond
  EXPECT_TRUE(meeting.called());
}

}  // namespace
}  // namespace asynctrace
