// The tasks and leaves of read_snapshot(): states, durations, and what is a fact. Also built with
// AddressSanitizer and UndefinedBehaviorSanitizer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <time.h>

#include <cstring>

#include "test/unit/snapshot_of.hpp"

namespace asynctrace {
namespace {

// A snapshot's own names before those of the segment.
using asynctrace::Leaf;
using asynctrace::Task;
using namespace segment;
using namespace test;
using testing::ElementsAre;

uint64_t monotonic_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

TEST(SnapshotTasks, TaskFieldsAndDurations) {
  SegmentImage image;
  image.add(kPollers, Poller{0x1111, RuntimeId::kUnknown, 0});
  image.add(kPollers, Poller{0x2222, RuntimeId::kTokio, 0});
  image.add(kTasks, segment::Task{8, 0xa000, state(4000, TaskState::kRunning), 1000, 300, 200, 7, 6, 77, 1,
                                  kNestsPolls, References::kUnknown});
  image.add(kTasks, waiting_task(3));
  const Snapshot snapshot = read(image);
  ASSERT_EQ(snapshot.tasks.size(), 2u);
  EXPECT_EQ(snapshot.tasks[0].id, 3u);  // by id, not by slot
  EXPECT_EQ(snapshot.tasks[0].poll_function, 0u);
  EXPECT_EQ(snapshot.tasks[0].last_poll_tid, std::nullopt);
  const Task& task = snapshot.tasks[1];
  EXPECT_EQ(task.address, 0xa000u);
  EXPECT_EQ(task.runtime, RuntimeId::kTokio);
  EXPECT_EQ(task.poll_function, 0x2222u);
  EXPECT_EQ(task.state, TaskState::kRunning);
  EXPECT_TRUE(task.nests_polls);
  EXPECT_FALSE(task.torn);
  EXPECT_EQ(task.created_ns, kDeath - 1000);
  EXPECT_EQ(task.in_state_ns, kDeath - 4000);
  EXPECT_EQ(task.busy_ns, 300u);
  EXPECT_EQ(task.max_poll_ns, 200u);
  EXPECT_EQ(task.polls, 7u);
  EXPECT_EQ(task.wakes, 6u);
  EXPECT_EQ(task.last_poll_tid, 77u);
  EXPECT_FALSE(snapshot.durations_at_least);
}

TEST(SnapshotTasks, WatchersOfPollLoops) {
  SegmentImage image;
  const uint32_t library = image.add(kLabels, segment::Label{image.add_string("libevent"), 0, 0});
  const auto watcher_task = [](uint64_t id, segment::TaskState state) {
    segment::Task task = waiting_task(id);
    task.state = task.state >> 2 << 2 | static_cast<uint64_t>(state);
    task.poller = segment::kNoPoller;
    task.kind_and_flags = static_cast<uint8_t>(TaskKind::kWatcher) << 4;
    return task;
  };
  for (const uint64_t id : {3, 4, 5}) image.add(kTasks, watcher_task(id, TaskState::kWaiting));
  image.add(kTasks, watcher_task(6, TaskState::kRunning));
  image.add(kWatchers, segment::Watcher{});  // free
  const auto name = static_cast<uint16_t>(library);
  image.add(kWatchers, watcher_record(3, 0x2600, 7, name));
  image.add(kWatchers, watcher_record(4, 0x2600, -1, segment::kNoLabel));
  image.add(kWatchers, watcher_record(5, 0x2600, 7, name));  // not armed
  image.add(kWatchers, watcher_record(6, 0, -1, name));      // a loop
  image.add(kLeaves, segment::Leaf{4 | kLeafLive, 0, 3, kNoStack, 0, 1, 1, 0});
  image.add(kLeaves, segment::Leaf{4 | kLeafLive, 0, 4, kNoStack, 0, 1, 1, 0});
  const Snapshot snapshot = read(image);
  ASSERT_EQ(snapshot.tasks.size(), 3u);
  ASSERT_TRUE(snapshot.tasks[0].watcher && snapshot.tasks[1].watcher && snapshot.tasks[2].watcher);
  EXPECT_EQ(snapshot.tasks[0].runtime, RuntimeId::kLoop);
  EXPECT_EQ(snapshot.tasks[0].watcher->library, "libevent");
  EXPECT_EQ(snapshot.tasks[0].watcher->descriptor, 7);
  EXPECT_TRUE(snapshot.tasks[0].leaves.at(0).confirmed);
  ASSERT_TRUE(snapshot.tasks[0].watcher->callback);
  EXPECT_EQ(snapshot.stacks.at(*snapshot.tasks[0].watcher->callback).pcs, std::vector<uint64_t>{0x2601});
  EXPECT_EQ(snapshot.tasks[1].watcher->library, "");
  EXPECT_EQ(snapshot.tasks[2].id, 6u);
  EXPECT_FALSE(snapshot.tasks[2].watcher->callback);
}

// What a watcher has armed in its own dispatch does not wait before that is over.
TEST(SnapshotTasks, AWatcherThatArmedItself) {
  const auto waiting_ns = [](TaskState state, uint32_t poll) {
    SegmentImage image;
    segment::Task task = waiting_task(3);
    task.state = uint64_t{4000} << 2 | static_cast<uint64_t>(state);
    task.polls = 2;
    task.kind_and_flags = static_cast<uint8_t>(TaskKind::kWatcher) << 4;
    image.add(kTasks, task);
    image.add(kWatchers, watcher_record(3, 0x2600, 7, segment::kNoLabel));
    image.add(kLeaves, segment::Leaf{4 | kLeafLive, 0, 3, kNoStack, poll, 3000, 3000, 0});
    return read(image).tasks.at(0).leaves.at(0).waiting_ns;
  };
  EXPECT_EQ(waiting_ns(TaskState::kRunning, 2), 0u);
  EXPECT_EQ(waiting_ns(TaskState::kWaiting, 2), kDeath - 4000);
  EXPECT_EQ(waiting_ns(TaskState::kRunning, 1), kDeath - 3000);
}

segment::Watcher armed(uint64_t task, uint32_t arming, uint64_t cause, uint32_t cause_arming) {
  segment::Watcher watcher = watcher_record(task, 0x1000 + task * 16, -1, segment::kNoLabel);
  watcher.arming = arming;
  watcher.cause = cause;
  watcher.cause_callback = cause != 0 ? 0x1000 + cause * 16 : 0;
  watcher.cause_arming = cause_arming;
  watcher.cause_stack = segment::kNoStack;
  return watcher;
}

// Of the one task with a leaf.
const asynctrace::Watcher causes_of(const std::vector<segment::Watcher>& watchers, bool asked = true) {
  SegmentImage image;
  segment::Task task = waiting_task(3);
  task.kind_and_flags = static_cast<uint8_t>(TaskKind::kWatcher) << 4;
  image.add(kTasks, task);
  image.add(kLeaves, leaf_of(3));
  for (const segment::Watcher& watcher : watchers) image.add(kWatchers, watcher);
  const Snapshot snapshot = read(image, {.state = ProcessState::kUnknown, .causes = asked});
  return *snapshot.tasks.at(0).watcher;
}

std::vector<std::pair<uint64_t, CauseState>> links(const asynctrace::Watcher& watcher) {
  std::vector<std::pair<uint64_t, CauseState>> links;
  for (const Cause& cause : watcher.causes) links.emplace_back(cause.task, cause.state);
  return links;
}

TEST(SnapshotTasks, WhatArmedAWatcher) {
  using std::pair;
  const auto told = [](const std::vector<segment::Watcher>& watchers) { return links(causes_of(watchers)); };
  EXPECT_THAT(told({armed(3, 2, 4, 6), armed(4, 6, 5, 2), armed(5, 2, 0, 0)}),
              ElementsAre(pair(4, CauseState::kKnown), pair(5, CauseState::kKnown)));
  EXPECT_THAT(told({armed(3, 2, 4, 6), armed(4, 8, 5, 2), armed(5, 2, 0, 0)}),
              ElementsAre(pair(4, CauseState::kArmedAgain)));
  EXPECT_THAT(told({armed(3, 2, 4, 6), armed(5, 2, 0, 0)}), ElementsAre(pair(4, CauseState::kGone)));
  EXPECT_THAT(told({armed(3, 2, 4, 0), armed(4, 6, 5, 2)}), ElementsAre(pair(4, CauseState::kUnknown)));
  EXPECT_THAT(told({armed(3, 0, 4, 6), armed(4, 6, 5, 2)}), ElementsAre());
  EXPECT_THAT(told({armed(3, 2, 0, 0)}), ElementsAre());
  segment::Watcher by_task = armed(3, 2, 9, 0);
  by_task.cause_callback = 0;
  EXPECT_THAT(told({by_task}), ElementsAre(pair(9, CauseState::kKnown)));
  EXPECT_TRUE(causes_of({armed(3, 2, 4, 6), armed(4, 6, 0, 0)}, false).causes.empty());
  // Half written.
  EXPECT_THAT(told({armed(3, 3, 4, 6), armed(4, 6, 5, 2)}), ElementsAre());
}

TEST(SnapshotTasks, CausesInACircle) {
  const asynctrace::Watcher watcher = causes_of({armed(3, 2, 4, 6), armed(4, 6, 3, 2)});
  EXPECT_EQ(watcher.causes.size(), kMaxCauses);
  EXPECT_TRUE(watcher.more_causes);
}

TEST(SnapshotTasks, WhatTheNativeApiTells) {
  SegmentImage image;
  const uint32_t runtime = image.add(kLabels, segment::Label{image.add_string("loop"), 0, 0});
  const uint32_t kind = image.add(kLabels, segment::Label{image.add_string("queue"), 5, 0});
  image.add(kTasks, waiting_task(3));
  image.add(kTasks, waiting_task(4));
  image.add(kTasks, waiting_task(5));
  image.add(kNativeTasks, segment::NativeTask{});  // free
  image.add(kNativeTasks, segment::NativeTask{4, 3, 0x2500, static_cast<uint16_t>(runtime), 4, "desk"});
  image.add(kNativeTasks, segment::NativeTask{5, 0, 0x2500, segment::kNoLabel, 40, "a name of 40 bytes"});
  image.add(kLeaves, segment::Leaf{4 | kLeafLive, (kind + 1) << kLeafLabelShift, 4, kNoStack, 0, 1, 1, 0});
  image.add(kLeaves, segment::Leaf{4 | kLeafLive, 900u << kLeafLabelShift, 5, kNoStack, 0, 1, 1, 0});
  const Snapshot snapshot = read(image);
  ASSERT_EQ(snapshot.tasks.size(), 3u);
  EXPECT_FALSE(snapshot.tasks[0].native);
  ASSERT_TRUE(snapshot.tasks[1].native && snapshot.tasks[2].native);
  EXPECT_EQ(snapshot.tasks[1].runtime, RuntimeId::kNative);
  const auto& desk = *snapshot.tasks[1].native;
  EXPECT_EQ(desk.runtime, "loop");
  EXPECT_EQ(desk.name, "desk");
  EXPECT_EQ(desk.woken_by, 3u);
  ASSERT_TRUE(desk.spawn_stack);
  EXPECT_THAT(snapshot.stacks[*desk.spawn_stack].pcs, ElementsAre(0x2500));
  EXPECT_EQ(snapshot.tasks[2].native->spawn_stack, desk.spawn_stack);
  EXPECT_EQ(snapshot.tasks[2].native->runtime, "");
  EXPECT_TRUE(snapshot.tasks[2].native->name.ends_with("...")) << "cut";
  ASSERT_EQ(snapshot.tasks[1].leaves.size(), 1u);
  ASSERT_TRUE(snapshot.tasks[1].leaves[0].label);
  EXPECT_EQ(snapshot.labels[*snapshot.tasks[1].leaves[0].label].text, "queue");
  EXPECT_FALSE(snapshot.tasks[2].leaves[0].label);
}

TEST(SnapshotTasks, WhatAPollOnRequestHasMet) {
  SegmentImage image;
  constexpr uint64_t kTold[] = {0x2100, 0x2200, 0x2300}, kMetAt[] = {0x2101, 0x2200, 0x2300};
  image.add_stack(kTold);
  image.add_stack(kMetAt);
  for (const uint64_t id : {3u, 4u, 5u}) image.add(kTasks, waiting_task(id));
  const auto add = [&](uint64_t task, uint32_t poll, uint32_t flags, uint32_t stack) {
    segment::Leaf leaf = leaf_of(task, poll, flags);
    leaf.stack = stack;
    image.add(kLeaves, leaf);
  };
  add(3, 2, 0, 0), add(3, 4, kMet, 1);  // told and met
  add(4, 4, kMet, 1);                   // met only
  add(5, 5, 0, 0), add(5, 4, kMet, 1);  // told again since it was met
  ReadOptions options = kDied;
  Snapshot snapshot = read(image, options);
  EXPECT_FALSE(snapshot.repoll);
  for (const Task& task : snapshot.tasks) EXPECT_EQ(task.leaves.size(), task.id == 4 ? 0u : 1u) << task.id;
  options.repoll = asynctrace::Repoll{.runtimes = 1, .tasks = 3};
  snapshot = read(image, options);
  EXPECT_EQ(snapshot.repoll->tasks, 3u);
  for (const Task& task : snapshot.tasks) {
    ASSERT_EQ(task.leaves.size(), 1u) << task.id;
    EXPECT_EQ(task.leaves[0].met, task.id != 5);
    EXPECT_TRUE(task.leaves[0].confirmed);
    const uint64_t innermost = snapshot.stacks[*task.leaves[0].stack].pcs[0];
    EXPECT_EQ(innermost, task.id == 4 ? 0x2101u : 0x2100u);
  }
}

TEST(SnapshotTasks, EveryState) {
  SegmentImage image;
  for (const auto which :
       {TaskState::kNone, TaskState::kRunning, TaskState::kWaiting, TaskState::kScheduled}) {
    segment::Task task = waiting_task(1 + static_cast<uint64_t>(which));
    task.state = state(1, which);
    image.add(kTasks, task);
  }
  image.add(kTasks, segment::Task{});  // free
  std::vector<TaskState> states;
  for (const Task& task : read(image).tasks) states.push_back(task.state);
  EXPECT_THAT(states,
              ElementsAre(TaskState::kNone, TaskState::kRunning, TaskState::kWaiting, TaskState::kScheduled));
}

TEST(SnapshotTasks, DeathThatNobodySawGivesLeastDurations) {
  SegmentImage image;
  image.header().last_event = 6000;
  image.add(kTasks, waiting_task(1));
  image.add(kLeaves, leaf_of(1));
  const ReadOptions unseen{ProcessState::kUnknown, 0};
  Snapshot snapshot = read(image, unseen);
  EXPECT_TRUE(snapshot.durations_at_least);
  EXPECT_EQ(snapshot.tasks[0].leaves[0].waiting_ns, 6000u - 700);
  // No thread parked after the last change of a task.
  segment::Task late = waiting_task(2);
  late.state = state(8000, TaskState::kScheduled);
  image.add(kTasks, late);
  snapshot = read(image, unseen);
  EXPECT_EQ(snapshot.tasks[0].leaves[0].waiting_ns, 8000u - 700);
  EXPECT_EQ(snapshot.tasks[1].in_state_ns, 0u);
}

TEST(SnapshotTasks, OfARunningProcessDurationsEndNow) {
  SegmentImage image;
  const uint64_t before = monotonic_ns();
  segment::Task task = waiting_task(1);
  task.state = state(before - 5'000'000'000, TaskState::kWaiting);
  task.created = UINT64_MAX;  // the future
  image.add(kTasks, task);
  const Snapshot snapshot = read(image, {ProcessState::kRunning, 0});
  EXPECT_FALSE(snapshot.durations_at_least);
  EXPECT_GE(snapshot.tasks[0].in_state_ns, 5'000'000'000u);
  EXPECT_LE(snapshot.tasks[0].in_state_ns, 5'000'000'000u + (monotonic_ns() - before));
  EXPECT_EQ(snapshot.tasks[0].created_ns, 0u);
}

TEST(SnapshotTasks, TicksOfAnotherBootAreConvertedByTheTwoReadings) {
  SegmentImage image;
  strcpy(image.header().boot_id, "another boot");
  image.header().clock = {ClockKind::kTsc, 0, 100, 1000, 300, 2000, 0};  // 5 ns a tick
  segment::Task task = waiting_task(1);
  task.state = state(500, TaskState::kWaiting);  // 3000 ns
  task.busy = 20;
  image.add(kTasks, task);
  const Snapshot snapshot = read(image);
  EXPECT_EQ(snapshot.tasks[0].in_state_ns, kDeath - 3000);
  EXPECT_EQ(snapshot.tasks[0].busy_ns, 100u);
}

// A leaf that renewed none waits since the end of the poll that registered it, of which the task's state
// tells.
TEST(SnapshotTasks, ALeafWaitsNoLongerThanItsTask) {
  SegmentImage image;
  image.add(kTasks, waiting_task(1));
  segment::Leaf first = leaf_of(1);
  first.since = first.registered;
  image.add(kLeaves, first);
  image.add(kLeaves, leaf_of(1));  // renewed one that has waited longer
  first.poll = 4;
  image.add(kLeaves, first);
  const Snapshot snapshot = read(image);
  const std::vector<Leaf>& leaves = snapshot.tasks[0].leaves;
  ASSERT_EQ(leaves.size(), 3u);
  EXPECT_EQ(leaves[0].waiting_ns, kDeath - 1000);
  EXPECT_EQ(leaves[1].waiting_ns, kDeath - 700);
  EXPECT_EQ(leaves[2].waiting_ns, kDeath - 900);
}

TEST(SnapshotTasks, LeavesAreConfirmedByTheLastPollOrByTheirExactEnd) {
  SegmentImage image;
  image.add(kTasks, waiting_task(1));
  image.add(kLeaves, leaf_of(1, 5));
  image.add(kLeaves, leaf_of(1, 4));     // its waker outlived its await
  image.add(kLeaves, leaf_of(1, 4, 0));  // a combinator's waker is not renewed on every poll
  image.add(kLeaves, leaf_of(1, 4, kOwnWaker | kNoExactEnd));
  image.add(kLeaves, leaf_of(99));  // of a task that is gone
  const Snapshot snapshot = read(image);
  ASSERT_EQ(snapshot.tasks.size(), 1u);
  const std::vector<Leaf>& leaves = snapshot.tasks[0].leaves;
  ASSERT_EQ(leaves.size(), 4u);
  EXPECT_EQ(leaves[0].waiting_ns, kDeath - 700);
  EXPECT_EQ(leaves[0].registered, 900u);
  EXPECT_TRUE(leaves[0].confirmed && leaves[0].own_waker && leaves[0].exact_end);
  EXPECT_TRUE(!leaves[1].confirmed && leaves[1].own_waker && leaves[1].exact_end);
  EXPECT_TRUE(leaves[2].confirmed && !leaves[2].own_waker && leaves[2].exact_end);
  EXPECT_TRUE(!leaves[3].confirmed && leaves[3].own_waker && !leaves[3].exact_end);
}

TEST(SnapshotTasks, LeafOfABlockOnWithoutAnExactEndIsNeverConfirmed) {
  for (const uint8_t kind : {uint8_t{0}, kBlockOnKind}) {
    SegmentImage image;
    segment::Task task = waiting_task(1);
    task.kind_and_flags = kind;
    image.add(kTasks, task);
    image.add(kLeaves, leaf_of(1, 5, kOwnWaker | kNoExactEnd));
    const Snapshot snapshot = read(image);
    EXPECT_EQ(snapshot.tasks[0].leaves[0].confirmed, kind != kBlockOnKind);
  }
}

TEST(SnapshotTasks, StuckIsAFactOrIsNotSaid) {
  const auto stuck = [](auto change) {
    SegmentImage image;
    segment::Task task = waiting_task(1);
    task.references = References::kNone;
    change(image, task);
    image.add(kTasks, task);
    return read(image).tasks.at(0).stuck;
  };
  EXPECT_TRUE(stuck([](auto&, auto&) {}));
  EXPECT_FALSE(stuck([](auto&, auto& task) { task.references = References::kUnknown; }));
  EXPECT_FALSE(stuck([](auto&, auto& task) { task.references = References::kSome; }));
  EXPECT_FALSE(stuck([](auto&, auto& task) { task.references = static_cast<References>(77); }));
  EXPECT_FALSE(stuck([](auto&, auto& task) { task.state = state(1, TaskState::kScheduled); }));
  EXPECT_FALSE(stuck([](auto&, auto& task) { task.state = state(1, TaskState::kRunning); }));
  EXPECT_FALSE(stuck([](auto& image, auto&) { image.add(kLeaves, leaf_of(1)); }));
  EXPECT_FALSE(stuck([](auto& image, auto&) { image.add(kLeaves, leaf_of(1, 2)); }));
}

TEST(SnapshotTasks, JoinsNameTheTaskWhereItIsKnown) {
  SegmentImage image;
  for (const uint64_t id : {1, 2}) image.add(kTasks, waiting_task(id));
  segment::Task block_on = waiting_task(3);
  block_on.kind_and_flags = kBlockOnKind;
  image.add(kTasks, block_on);
  for (const uint64_t joins : {uint64_t{0}, waiting_task(2).address, uint64_t{0xdead}, block_on.address}) {
    segment::Leaf leaf = leaf_of(1);
    leaf.joins = joins;
    image.add(kLeaves, leaf);
  }
  const Snapshot snapshot = read(image);
  const std::vector<Leaf>& leaves = snapshot.tasks[0].leaves;
  ASSERT_EQ(leaves.size(), 4u);
  EXPECT_EQ(leaves[0].joins_address, 0u);
  EXPECT_EQ(leaves[0].waits_for_task, std::nullopt);
  EXPECT_EQ(leaves[1].joins_address, waiting_task(2).address);
  EXPECT_EQ(leaves[1].waits_for_task, 2u);
  EXPECT_EQ(leaves[2].joins_address, 0xdeadu);
  EXPECT_EQ(leaves[2].waits_for_task, std::nullopt);
  EXPECT_EQ(leaves[3].waits_for_task, std::nullopt);  // a block_on's address is a thread id
}

TEST(SnapshotTasks, BlockOnIsShownWhileItWaits) {
  SegmentImage image;
  for (const uint64_t id : {1, 2}) {
    segment::Task task = waiting_task(id);
    task.kind_and_flags = kBlockOnKind;
    image.add(kTasks, task);
  }
  image.add(kLeaves, leaf_of(2));
  const Snapshot snapshot = read(image);
  ASSERT_EQ(snapshot.tasks.size(), 1u);
  EXPECT_EQ(snapshot.tasks[0].id, 2u);
  EXPECT_EQ(snapshot.tasks[0].kind, TaskKind::kBlockOn);
}

}  // namespace
}  // namespace asynctrace
