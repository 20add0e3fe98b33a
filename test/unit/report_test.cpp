#include "cli/tree/report.hpp"

#include <gtest/gtest.h>

#include "test/unit/hand_built.hpp"

namespace asynctrace::testing {
namespace {

Frame notify() {
  return tokio_frame("tokio::sync::notify::Notified::poll_notified", "sync/notify.rs");
}
Frame body(uint32_t line) {
  return async_fn("app::body", "/b/src/main.rs", line, 9);
}
Frame join_closure(uint32_t line) {
  Frame result = frame("app::outer::{{closure}}::{{closure}}", "/b/src/main.rs", line, 5);
  result.debug_name = "{closure#0}";
  return result;
}

std::vector<bool> confirmed(const ReportTask& task) {
  std::vector<bool> result;
  for (const ReportLeaf& leaf : task.leaves) result.push_back(leaf.confirmed);
  return result;
}

std::string drawn(const Group& group) {
  std::string text;
  for (const Row& row : group.rows) {
    text += row.drawing + (row.per_task > 1 ? std::to_string(row.per_task) + " x " : "") + row.text + "\n";
  }
  return text;
}

// A leaf that registered at `when`.
Leaf registered(uint32_t stack, uint64_t when, bool is_confirmed = true) {
  Leaf result;
  result.stack = stack;
  result.registered = when;
  result.waiting_ns = 1000 - when;
  result.confirmed = is_confirmed;
  return result;
}

TEST(Confirmation, NewestAwaitOfOneAsyncBodyWins) {
  Program program;
  const uint64_t root = program.symbols.add({frame("tokio::runtime::task::raw::poll")});
  const uint64_t leaf_pc = program.symbols.add({notify()});
  const uint32_t first = program.stack_of({leaf_pc, program.symbols.add({body(10)}), root});
  const uint32_t second = program.stack_of({leaf_pc, program.symbols.add({body(12)}), root});
  program.task(1, {registered(second, 20), registered(first, 10)});
  program.task(2, {registered(first, 30), registered(second, 20)});
  const Report report = build_report(program.snapshot, program.symbols);
  for (const ReportTask& task : report.tasks) {
    EXPECT_EQ(confirmed(task), (std::vector<bool>{false, true}));  // in the order of registration
    EXPECT_EQ(task.leaves[0].reason, LeafReason::kOtherAwait);
    EXPECT_FALSE(task.leaves[0].shown);
    EXPECT_TRUE(task.leaves[1].shown);
  }
  EXPECT_EQ(report.stacks[*report.tasks[0].leaves[1].stack].source, second);
  EXPECT_EQ(report.stacks[*report.tasks[1].leaves[1].stack].source, first);
}

TEST(Confirmation, BodiesInlinedIntoOneFunctionAreToldApart) {
  Program program;
  const uint64_t leaf_pc = program.symbols.add({notify()});
  // Innermost first: the body is inlined into its caller, at the same call.
  const uint32_t first = program.stack_of(
      {leaf_pc, program.symbols.add({body(10), async_fn("app::outer", "/b/src/main.rs", 3, 1)})});
  const uint32_t second = program.stack_of(
      {leaf_pc, program.symbols.add({body(12), async_fn("app::outer", "/b/src/main.rs", 3, 1)})});
  program.task(1, {registered(first, 10), registered(second, 20)});
  EXPECT_EQ(confirmed(build_report(program.snapshot, program.symbols).tasks[0]),
            (std::vector<bool>{false, true}));
}

TEST(Confirmation, BranchesOfACombinatorStandSideBySide) {
  Program program;
  const uint64_t leaf_pc = program.symbols.add({notify()});
  const Frame outer = async_fn("app::outer", "/b/src/main.rs", 3, 1);
  const uint32_t first = program.stack_of(
      {leaf_pc, program.symbols.add({body(10)}), program.symbols.add({join_closure(4), outer})});
  const uint32_t second = program.stack_of(
      {leaf_pc, program.symbols.add({body(12)}), program.symbols.add({join_closure(5), outer})});
  // The same macro call, another address: bodies further in are of no interest any more.
  const uint32_t third = program.stack_of(
      {leaf_pc, program.symbols.add({body(14)}), program.symbols.add({join_closure(4), outer})});
  program.task(1, {registered(first, 10), registered(second, 20), registered(third, 30)});
  EXPECT_EQ(confirmed(build_report(program.snapshot, program.symbols).tasks[0]),
            (std::vector<bool>{true, true, true}));
}

TEST(Confirmation, InstancesBelowOneHolderExcludeNothing) {
  Program program;
  const uint64_t leaf_pc = program.symbols.add({notify()});
  const uint64_t holder = program.symbols.add(
      {frame("<futures_util::future::join_all::JoinAll<F> as core::future::future::Future>::poll")});
  const uint32_t first = program.stack_of({leaf_pc, program.symbols.add({body(10)}), holder});
  const uint32_t second = program.stack_of({leaf_pc, program.symbols.add({body(12)}), holder});
  program.task(1, {registered(first, 10), registered(second, 20)});
  EXPECT_EQ(confirmed(build_report(program.snapshot, program.symbols).tasks[0]),
            (std::vector<bool>{true, true}));

  // An async body between the holder and the parting is one instance again.
  const uint64_t between = program.symbols.add({async_fn("app::outer", "/b/src/main.rs", 3, 1)});
  program.snapshot.tasks.clear();
  program.task(
      1,
      {registered(program.stack_of({leaf_pc, program.snapshot.stacks[first].pcs[1], between, holder}), 10),
       registered(program.stack_of({leaf_pc, program.snapshot.stacks[second].pcs[1], between, holder}), 20)});
  EXPECT_EQ(confirmed(build_report(program.snapshot, program.symbols).tasks[0]),
            (std::vector<bool>{false, true}));
}

TEST(Confirmation, WithoutLinesNothingIsExcluded) {
  Program program;
  const uint64_t leaf_pc = program.symbols.add({notify()});
  Frame known = body(10), unknown = body(0);
  unknown.column = 0;
  program.task(1, {registered(program.stack_of({leaf_pc, program.symbols.add({known})}), 10),
                   registered(program.stack_of({leaf_pc, program.symbols.add({unknown})}), 20)});
  EXPECT_EQ(confirmed(build_report(program.snapshot, program.symbols).tasks[0]),
            (std::vector<bool>{true, true}));
}

TEST(Unconfirmed, IsHiddenBesideAConfirmedLeafElseMarked) {
  Program program;
  const uint32_t old = program.stack({async_fn("app::old", "/b/src/main.rs", 1, 1), notify()});
  const uint32_t now = program.stack({async_fn("app::now", "/b/src/main.rs", 2, 1), notify()});
  program.task(1, {registered(old, 10, false), registered(now, 20)});
  program.task(2, {registered(old, 10, false)});
  const Report report = build_report(program.snapshot, program.symbols);
  ASSERT_EQ(report.groups.size(), 2u);
  EXPECT_EQ(drawn(report.groups[0]), "╼ async fn app::old\n  └╼ Notify (unconfirmed)\n");
  EXPECT_EQ(drawn(report.groups[1]), "╼ async fn app::now\n  └╼ Notify\n");
}

TEST(Leaves, OfTheRuntimeItselfAreFoldedUnlessThatIsAll) {
  Program program;
  const uint32_t internal =
      program.stack({tokio_frame("tokio::task::local::LocalSet::tick", "task/local.rs")});
  const uint32_t own = program.stack({body(1), notify()});
  program.task(1, {registered(internal, 10), registered(own, 20)});
  program.task(2, {registered(internal, 10)});
  const Report report = build_report(program.snapshot, program.symbols);
  EXPECT_EQ(report.folded_leaves, 1u);
  ASSERT_EQ(report.groups.size(), 2u);
  EXPECT_EQ(drawn(report.groups[0]), "╼ LocalSet\n");
  EXPECT_EQ(drawn(report.groups[1]), "╼ async fn app::body\n  └╼ Notify\n");
}

TEST(Leaves, EqualSiblingsAreCounted) {
  Program program;
  const uint32_t one = program.stack({body(1), notify()});
  const uint32_t other = program.stack({body(1), notify()});  // reads the same
  program.task(1, {registered(one, 10), registered(other, 20), registered(one, 30)});
  const Report report = build_report(program.snapshot, program.symbols);
  EXPECT_EQ(drawn(report.groups[0]), "╼ async fn app::body\n  └╼ 3 x Notify\n");
}

TEST(Leaves, ACombinatorSaysWhatItsChildrenAre) {
  Program program;
  const Frame unordered = frame(
      "<futures_util::stream::futures_unordered::FuturesUnordered<F> as "
      "futures_core::stream::Stream>::poll_next");
  const uint32_t parent = program.stack({body(1), unordered});
  Leaf child = registered(
      program.stack({body(1), unordered, async_fn("app::child", "/b/src/main.rs", 9, 1), notify()}), 20);
  child.own_waker = false;
  program.task(1, {registered(parent, 10)});
  program.task(2, {registered(parent, 10), child});
  const Report report = build_report(program.snapshot, program.symbols);
  EXPECT_EQ(drawn(report.groups[0]),
            "╼ async fn app::body\n  └╼ FuturesUnordered (children not observable)\n");
  EXPECT_EQ(drawn(report.groups[1]), "╼ async fn app::body\n  └╼ async fn app::child\n     └╼ Notify\n");
  EXPECT_EQ(confirmed(report.tasks[1]), (std::vector<bool>{false, true}));
}

TEST(Leaves, JoinsNameTheTask) {
  Program program;
  const uint32_t named = program.stack(
      {body(1),
       tokio_frame("<tokio::runtime::task::join::JoinHandle<T> as core::future::future::Future>::poll",
                   "x.rs")});
  const uint32_t unnamed = program.stack({body(2)});
  Leaf join = registered(named, 10);
  join.joins_address = 0x7000;
  join.waits_for_task = 9;
  program.task(1, {join});
  join.stack = unnamed;
  program.task(2, {join});
  join.waits_for_task.reset();
  program.task(3, {join});
  const Report report = build_report(program.snapshot, program.symbols);
  EXPECT_EQ(drawn(report.groups[0]), "╼ async fn app::body\n  └╼ JoinHandle of task 9\n");
  EXPECT_EQ(drawn(report.groups[1]), "╼ async fn app::body\n  └╼ JoinHandle of task 9\n");
  EXPECT_EQ(drawn(report.groups[2]), "╼ async fn app::body\n  └╼ JoinHandle\n");
  EXPECT_EQ(report.tasks[0].leaves[0].source->waits_for_task, 9u);
}

TEST(Leaves, LostStackAndMissingLeafAreSaid) {
  Program program;
  Leaf lost = registered(0, 10);
  lost.stack = 4711;  // no such stack
  program.task(1, {lost});
  program.task(2).poll_function = program.symbols.add({poll_function("app::f::{async_fn_env#0}")});
  program.task(3).torn = true;
  const Report report = build_report(program.snapshot, program.symbols);
  ASSERT_EQ(report.groups.size(), 3u);
  EXPECT_EQ(drawn(report.groups[0]), "╼ unknown (stack lost)\n");
  EXPECT_EQ(drawn(report.groups[1]), "╼ async fn app::f\n  └╼ leaf unknown\n");
  EXPECT_EQ(drawn(report.groups[2]), "╼ leaf unknown (it kept changing while it was read)\n");
  EXPECT_EQ(report.counts.inside, 3u);
}

TEST(Groups, TracesThatReadTheSameAreMerged) {
  Program program;
  const uint32_t one = program.stack({body(1), notify()});
  const uint32_t other = program.stack(
      {body(1), tokio_frame("tokio::loom::std::unsafe_cell::UnsafeCell<T>::with_mut", "x.rs"), notify()});
  program.task(1, {registered(one, 10)});
  program.task(2, {registered(other, 20)});
  EXPECT_EQ(build_report(program.snapshot, program.symbols).groups.size(), 1u);
  EXPECT_EQ(build_report(program.snapshot, program.symbols, {FrameView::kAll, {}}).groups.size(), 2u);
}

TEST(Groups, InsideOldestFirstOutsideMostTasksFirst) {
  Program program;
  const Frame sleep =
      tokio_frame("<tokio::time::sleep::Sleep as core::future::future::Future>::poll", "time/sleep.rs");
  const uint32_t young = program.stack({async_fn("app::young", "/b/src/a.rs", 1, 1), notify()});
  const uint32_t old = program.stack({async_fn("app::old", "/b/src/a.rs", 2, 1), notify()});
  const uint32_t few = program.stack({async_fn("app::few", "/b/src/a.rs", 3, 1), sleep});
  const uint32_t many = program.stack({async_fn("app::many", "/b/src/a.rs", 4, 1), sleep});
  program.task(1, {registered(young, 900)});
  program.task(2, {registered(young, 900)});
  program.task(3, {registered(old, 100)});
  program.task(4, {registered(few, 100)});
  program.task(5, {registered(many, 900)});
  program.task(6, {registered(many, 800)});
  std::string order;
  for (const Group& group : build_report(program.snapshot, program.symbols).groups)
    order += group.rows[0].text + ", ";
  EXPECT_EQ(order, "async fn app::old, async fn app::young, async fn app::many, async fn app::few, ");
}

TEST(Tasks, ScheduledWithoutALeafAndRunningAreNotWaiting) {
  Program program;
  program.task(1).state = TaskState::kScheduled;
  program.task(2).state = TaskState::kRunning;
  program.task(3, {registered(program.stack({body(1), notify()}), 10)}).state = TaskState::kScheduled;
  const Report report = build_report(program.snapshot, program.symbols);
  EXPECT_EQ(report.counts.scheduled, 1u);
  EXPECT_EQ(report.counts.running, 1u);
  EXPECT_EQ(report.counts.inside, 1u);
  EXPECT_EQ(report.groups.back().group_class, GroupClass::kRunning);
  EXPECT_EQ(report.groups.back().tasks, (std::vector<uint64_t>{1, 2}));
}

TEST(Tasks, KindFallsBackToWhatTheyDo) {
  Program program;
  program.task(1).nests_polls = true;
  Task& block_on = program.task(2);
  block_on.kind = TaskKind::kBlockOn;
  block_on.nests_polls = true;
  Task& nested = program.task(3);
  nested.nests_polls = true;
  nested.poll_function = program.symbols.add({poll_function("app::f::{async_fn_env#0}")});
  const Report report = build_report(program.snapshot, program.symbols);
  EXPECT_EQ(report.tasks[0].kind, ReportTaskKind::kWorker);
  EXPECT_EQ(report.tasks[1].kind, ReportTaskKind::kBlockOn);
  EXPECT_EQ(report.tasks[2].kind, ReportTaskKind::kTask);
  EXPECT_EQ(report.counts.total, 2u);
  EXPECT_EQ(report.runtimes.at(0).workers.total, 1u);
}

TEST(Diagnostics, EachHasItsRemedy) {
  Program program;
  program.snapshot.agent_off_reason = "a broken invariant";
  program.snapshot.modules = {{"/opt/a", {}, 0, 0, 0},
                              {"/opt/b", {}, 0, 0, 0},
                              {"/opt/c", {}, 0, 0, 0},
                              {"/lib/x86_64-linux-gnu/libc.so.6", {}, 0, 0, 0},
                              {"/opt/unused", {}, 0, 0, 0}};
  program.symbols.statuses[0] = {MissingReason::kNoSymbols, ""};
  program.symbols.statuses[1] = {MissingReason::kBuildIdDiffers,
                                 "/opt/b: build-id differs (wants ab, has 9f)"};
  program.symbols.statuses[2] = {};
  program.symbols.statuses[3] = {MissingReason::kNoDebugInfo, ""};
  Frame without_line = frame("app::f");
  without_line.module = 2;
  program.task(1, {registered(program.stack({without_line}), 10)}).torn = true;
  program.snapshot.lost.self_waking_stacks = 2;
  std::vector<std::string> found;
  for (const Diagnostic& diagnostic : build_report(program.snapshot, program.symbols).diagnostics) {
    found.push_back(std::string(diagnostic.code) + ": " + diagnostic.message);
  }
  EXPECT_EQ(found, (std::vector<std::string>{
                       "agent_off: the agent turned itself off: a broken invariant",
                       "no_symbols: /opt/a: stripped: functions are unknown",
                       "build_id_differs: /opt/b: build-id differs (wants ab, has 9f)",
                       "no_lines: /opt/c: frames of the user's own code without a line: 1",
                       "self_waking: places where the program wakes the waker it replaces, so that their "
                       "leaves have no exact end: 2",
                       "torn_tasks: tasks that kept changing while they were read, leaves may be missing: 1",
                   }));
}

}  // namespace
}  // namespace asynctrace::testing
