#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/render/folded.hpp"
#include "cli/render/text.hpp"
#include "cli/tree/findings.hpp"
#include "cli/tree/report.hpp"
#include "common/include/asynctrace/abi.h"
#include "test/unit/hand_built.hpp"

namespace asynctrace::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Ids = std::vector<uint64_t>;

struct Programs : Program {
  uint64_t poll(const std::string& future) { return symbols.add({poll_function(future)}); }
  const uint64_t future = poll("app::body::{async_fn_env#0}");
  const uint64_t closure =
      poll("tokio::runtime::blocking::task::BlockingTask<app::main::{async_fn#0}::{closure_env#0}>");
  const uint32_t join =
      stack({async_fn("app::join", "/b/src/main.rs", 9, 5),
             tokio_frame("tokio::runtime::task::join::JoinHandle<T> as F>::poll", "runtime/task/join.rs")});
  const uint32_t lock = stack({async_fn("app::pay", "/b/src/main.rs", 12, 5),
                               tokio_frame("tokio::sync::mutex::Mutex<T>::lock", "sync/mutex.rs")});

  Leaf joins(uint64_t task, uint64_t waiting_ns = kSec) {
    Leaf result = leaf(join, waiting_ns);
    result.joins_address = 1;
    result.waits_for_task = task;
    return result;
  }
  Leaf waits_for_lock(std::optional<uint64_t> holder) {
    Leaf result = leaf(lock, kSec);
    result.waits_for_task = holder;
    return result;
  }
  // A task in one poll for so long, on a thread of that number.
  Task& running(uint64_t id, uint64_t poll_function, uint64_t ns) {
    Task& result = task(id);
    result.poll_function = poll_function;
    result.state = TaskState::kRunning;
    result.in_state_ns = ns;
    snapshot.threads.push_back({static_cast<uint32_t>(id), "w", ThreadState::kPolling, ns, id, id});
    return result;
  }
  Report report(const ReportOptions& options = {}) { return build_report(snapshot, symbols, options); }
};

std::vector<std::string> drawn(const Suspect& suspect) {
  std::vector<std::string> lines;
  for (const Row& row : suspect.group.rows) lines.push_back(row.drawing + row.text);
  return lines;
}

TEST(Suspects, TasksThatJoinEachOtherAndWhoWaitsForThem) {
  Programs program;
  program.task(1, {program.joins(2, 3 * kSec)});
  program.task(2, {program.joins(1, 4 * kSec)});
  program.task(3, {program.joins(2, 9 * kSec)});
  program.task(4, {program.joins(5)});
  program.task(5, {program.waits_for_lock({})});
  const Report report = program.report();
  ASSERT_EQ(report.suspects.size(), 2u);
  EXPECT_EQ(report.suspects[0].kind, "deadlock");
  EXPECT_EQ(report.suspects[0].group.tasks, (Ids{1, 2}));
  EXPECT_EQ(report.suspects[0].group.waiting.max_ns, 4 * kSec);
  EXPECT_EQ(report.suspects[0].evidence,
            "task 1 waits for task 2 (JoinHandle); task 2 waits for task 1 (JoinHandle)");
  EXPECT_THAT(drawn(report.suspects[0]),
              ElementsAre("task 1", "╼ async fn app::join", "  └╼ JoinHandle of task 2", "task 2",
                          "╼ async fn app::join", "  └╼ JoinHandle of task 1"));
  EXPECT_EQ(report.suspects[1].kind, "waits_on_suspect");
  EXPECT_EQ(report.suspects[1].evidence, "waits for suspect task 2 (JoinHandle)");
  EXPECT_EQ(report.suspects[1].group.tasks, (Ids{3}));
  EXPECT_EQ(report.groups.size(), 2u);
  EXPECT_EQ(report.counts.inside, 5u);
}

TEST(Suspects, HoldersOfLocksCloseACircleToo) {
  Programs program;
  program.task(7, {program.waits_for_lock(8)});
  program.task(8, {program.waits_for_lock(7)});
  const Report report = program.report();
  ASSERT_EQ(report.suspects.size(), 1u);
  EXPECT_EQ(report.suspects[0].evidence,
            "task 7 waits for task 8 (Mutex lock); task 8 waits for task 7 (Mutex lock)");
  std::ostringstream folded;
  render_folded(report, folded);
  EXPECT_EQ(
      folded.str(),
      "async fn app::pay;Mutex lock, held by task 7 1\nasync fn app::pay;Mutex lock, held by task 8 1\n");
  EXPECT_THAT(drawn(report.suspects[0]),
              ElementsAre("task 7", "╼ async fn app::pay", "  └╼ Mutex lock, held by task 8", "task 8",
                          "╼ async fn app::pay", "  └╼ Mutex lock, held by task 7"));
}

// A task of a poll loop that waits for a descriptor and calls a function of that name.
Task& watcher(Programs& program, uint64_t id, int descriptor, const std::string& function) {
  const uint32_t armed = program.stack({frame("main", "/b/src/main.c", 9, 5)});
  Watcher facts;
  facts.library = "libevent";
  facts.callback = program.stack_of({program.symbols.add({frame(function, "/b/src/main.c", 20)}) + 1});
  facts.descriptor = descriptor;
  Leaf waits = leaf(armed, 3 * kSec);
  program.snapshot.labels = {{"read", ASYNCTRACE_IO}};
  waits.label = 0;
  Task& task = program.task(id, {waits});
  task.runtime = RuntimeId::kLoop;
  task.kind = TaskKind::kWatcher;
  task.watcher = std::make_unique<const Watcher>(std::move(facts));
  return task;
}

TEST(Suspects, DescriptorsThatAreReadyAndNotServed) {
  Programs program;
  watcher(program, 3, 7, "on_read");
  watcher(program, 4, 8, "on_other");
  program.snapshot.descriptors = {{7, "pipe, read end"}};
  program.snapshot.unserved = {{3, false, 1'020 * kMs, 41, "poll(2)", 42, LoopState::kInCallback, 0, 4}};
  const auto evidence = [&] { return program.report().suspects.at(0).evidence; };
  EXPECT_EQ(evidence(),
            "fd 7 (pipe, read end) has been ready for 1.0s and on_read was not called; seen by poll(2) at 41 "
            "looks, while thread 42 is in one call of on_other");
  program.snapshot.unserved[0].callback = 99;
  EXPECT_THAT(evidence(), ::testing::EndsWith("thread 42 is in one call of task 99"));
  program.snapshot.unserved[0].loop = LoopState::kSleeps;
  EXPECT_THAT(evidence(), ::testing::EndsWith("the loop of thread 42 sleeps"));
  program.snapshot.unserved[0].loop = LoopState::kTurns;
  program.snapshot.unserved[0].turns = 900;
  EXPECT_THAT(evidence(), ::testing::EndsWith("the loop of thread 42 turned 900 times"));
  program.snapshot.unserved[0].loop = LoopState::kAway;
  EXPECT_THAT(evidence(), ::testing::EndsWith("thread 42 does not come back to its loop"));
  program.snapshot.unserved[0].is_timer = true;
  EXPECT_THAT(evidence(),
              ::testing::StartsWith("it has been due for 1.0s and on_read was not called; seen at 41 looks"));
  program.snapshot.unserved[0].is_timer = false;
  program.snapshot.unserved[0].loop = LoopState::kTurns;

  const Report report = program.report();
  ASSERT_EQ(report.suspects.size(), 1u);
  EXPECT_EQ(report.suspects[0].kind, "ready_not_served");
  EXPECT_EQ(report.suspects[0].group.tasks, (Ids{3}));
  EXPECT_THAT(drawn(report.suspects[0]), ElementsAre("╼ main", "  └╼ read, calls on_read"));
  EXPECT_THAT(report.suspects[0].group.rows[1].resources, ElementsAre("fd 7: pipe, read end"));
  EXPECT_EQ(find_findings(report).at(0).kind, "ready_not_served");
}

TEST(Suspects, NamesOfSocketsAreEscaped) {
  Programs program;
  watcher(program, 3, 7, "on_read");
  program.snapshot.descriptors = {{7, "unix stream /tmp/\x1b[31m\n"}};
  program.snapshot.unserved = {{3, false, kSec, 41, "poll(2)", 42, LoopState::kSleeps, 0, 0}};
  std::ostringstream text;
  render_text(program.report(), {}, text);
  EXPECT_THAT(text.str(),
              ::testing::HasSubstr("task 3: fd 7 (unix stream /tmp/\\x1b[31m\\x0a) has been ready"));
  EXPECT_THAT(text.str(), ::testing::HasSubstr("on_read  fd 7: unix stream /tmp/\\x1b[31m\\x0a\n"));
}

TEST(Suspects, ManyDescriptorsOfOneKindAreOneSuspect) {
  Programs program;
  const uint64_t function = program.symbols.add({frame("on_read", "/b/src/main.c", 20)}) + 1;
  const uint32_t armed = program.stack({frame("main", "/b/src/main.c", 9, 5)});
  const uint32_t callback = program.stack_of({function});
  program.snapshot.labels = {{"read", ASYNCTRACE_IO}};
  for (uint64_t id = 3; id < 8; ++id) {
    Leaf waits = leaf(armed, kSec);
    waits.label = 0;
    Task& task = program.task(id, {waits});
    task.kind = TaskKind::kWatcher;
    task.watcher = std::make_unique<const Watcher>(Watcher{"libevent", callback, static_cast<int>(id)});
    program.snapshot.unserved.push_back({id, false, kSec, 41, "poll(2)", 42, LoopState::kSleeps, 0, 0});
  }
  const Report report = program.report();
  ASSERT_EQ(report.suspects.size(), 1u);
  EXPECT_EQ(report.suspects[0].evidence,
            "fd 3 has been ready for 1.0s and on_read was not called, like 4 others; seen by poll(2) at 41 "
            "looks, while the loop of thread 42 sleeps");
  EXPECT_GT(report.suspects[0].group.rows.back().resources.size(), kNamedResources);
}

TEST(Suspects, ATimerBesideTheJoinIsAnotherWayOn) {
  Programs program;
  const uint32_t timer = program.stack({async_fn("app::join", "/b/src/main.rs", 9, 5),
                                        tokio_frame("tokio::time::sleep::Sleep::poll", "time/sleep.rs")});
  program.task(1, {program.joins(2), leaf(timer, kSec)});
  program.task(2, {program.joins(1)});
  EXPECT_THAT(program.report().suspects, IsEmpty());
}

TEST(Suspects, WhatIsNotConfirmedOrMayHaveEndedIsNoEvidence) {
  for (const bool is_confirmed : {false, true}) {
    Programs program;
    Leaf doubtful = program.joins(2);
    doubtful.confirmed = is_confirmed;
    doubtful.exact_end = !is_confirmed;
    program.task(1, {doubtful});
    program.task(2, {program.joins(1)});
    EXPECT_THAT(program.report().suspects, IsEmpty());
  }
}

TEST(Suspects, ATaskThatWasWokenOrKeptChangingIsNone) {
  for (const bool torn : {false, true}) {
    Programs program;
    Task& task = program.task(1, {program.joins(1)});
    (torn ? task.torn : task.stuck) = true;
    if (!torn) task.state = TaskState::kScheduled;
    EXPECT_THAT(program.report().suspects, IsEmpty());
  }
}

TEST(Suspects, BlockedThreadsAndWhoWaitsForThem) {
  Programs program;
  program.running(1, program.future, 2 * kSec);
  program.running(2, program.future, kSec - 1);
  program.task(3, {program.joins(1)});
  Task& behind = program.task(4);
  behind.state = TaskState::kScheduled;
  behind.last_poll_tid = 1;
  program.task(5).state = TaskState::kScheduled;  // of another runtime, for all that is known
  const Report report = program.report();
  ASSERT_EQ(report.suspects.size(), 2u);
  EXPECT_EQ(report.suspects[0].kind, "blocked_worker");
  EXPECT_EQ(report.suspects[0].evidence,
            "thread tid 1: 2.0s in one poll of task 1; 1 task scheduled behind it");
  EXPECT_EQ(report.suspects[1].group.tasks, (Ids{3}));
  EXPECT_EQ(program.report({.blocked_ns = kSec - 1}).suspects.size(), 3u);
}

TEST(Suspects, WhatMayBlockIsNone) {
  Programs program;
  program.running(1, program.closure, 60 * kSec);
  program.running(2, 0, 60 * kSec).polls = 2;                                // of no function that is known
  program.running(3, program.symbols.add({frame("raw::poll")}), 60 * kSec);  // polled once: perhaps a closure
  program.running(4, program.symbols.add({frame("raw::poll")}), 60 * kSec).polls = 2;
  program.task(5, {program.joins(1)});
  const uint32_t in_place =
      program.stack({frame("raw::poll"),
                     tokio_frame("tokio::runtime::scheduler::multi_thread::worker::block_in_place", "x.rs"),
                     frame("std::thread::sleep")});
  program.running(6, program.future, 60 * kSec);
  program.snapshot.threads.back().native_stack = in_place;
  const Report report = program.report();
  ASSERT_EQ(report.suspects.size(), 1u);
  EXPECT_EQ(report.suspects[0].group.tasks, (Ids{4}));
}

TEST(Suspects, AreWrittenAsTheManualHasThem) {
  Programs program;
  program.running(1, program.future, 31'200 * kMs);
  program.snapshot.process.exe = "/opt/app";
  program.snapshot.process.state = ProcessState::kRunning;
  // Up to the agent's hook of the poll: below it runs the worker loop.
  const uint64_t hook = program.symbols.add({frame("asynctrace_poll_hook")});
  program.snapshot.agent = program.snapshot.poll_hook = {hook - 1, hook};
  program.snapshot.threads[0].native_stack =
      program.stack_of({program.symbols.add({frame("std::thread::sleep")}),
                        program.symbols.add({async_fn("app::body", "/b/src/main.rs", 40, 9)}), program.future,
                        hook, program.symbols.add({async_fn("app::main", "/b/src/main.rs", 60, 9)})});
  program.task(2, {program.joins(3)});
  program.task(3, {program.joins(2)});
  std::ostringstream text;
  render_text(program.report({.sources = {{}, "/b"}}), {}, text);
  EXPECT_EQ(text.str(), R"(app pid 0  tokio   3 tasks: 2 inside, 1 running   read in 0 ms

SUSPECTS
1. thread tid 1: 31.2s in one poll of task 1
   ╼ async fn app::body at src/main.rs:40:9
     └╼ std::thread::sleep  [native stack]
2. deadlock, 2 tasks, 1.0s
   task 2
   ╼ async fn app::join at src/main.rs:9:5
     └╼ JoinHandle of task 3
   task 3
   ╼ async fn app::join at src/main.rs:9:5
     └╼ JoinHandle of task 2
)");
}

TEST(Suspects, AStackThatCannotBeReadSaysWhy) {
  Programs program;
  program.running(1, program.future, 2 * kSec);
  program.snapshot.threads[0].no_native_stack = "not permitted";
  program.snapshot.durations_at_least = true;
  const Report report = program.report();
  ASSERT_EQ(report.suspects.size(), 1u);
  EXPECT_EQ(report.suspects[0].evidence, "thread tid 1: at least 2.0s in one poll of task 1");
  EXPECT_THAT(drawn(report.suspects[0]),
              ElementsAre("╼ async fn app::body", "  └╼ stack unknown: not permitted"));
}

}  // namespace
}  // namespace asynctrace::testing
