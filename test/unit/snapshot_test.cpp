// read_snapshot() over segments built by hand. In most of them one tick is one nanosecond and the process died at
// kDeath, so that every duration is exact. Also built with AddressSanitizer and UndefinedBehaviorSanitizer.
#include <gtest/gtest.h>
#include <gmock/gmock.h>

#include <signal.h>
#include <time.h>

#include <cstring>
#include <fstream>
#include <random>

#include "cli/read_snapshot.hpp"
#include "test/unit/segment_image.hpp"

namespace asynctrace {
namespace {

// A snapshot's own names before those of the segment.
using asynctrace::Leaf;
using asynctrace::Task;
using asynctrace::ThreadState;
using namespace segment;
using test::SegmentImage;
using test::TemporaryFile;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kDeath = 10'000;
constexpr uint8_t kBlockOnKind = static_cast<uint8_t>(TaskKind::kBlockOn) << 4;
const ReadOptions kDied{ProcessState::kUnknown, 42};  // and somebody saw it: read() notes the death

Snapshot read(SegmentImage& image, const ReadOptions& options = kDied) {
  const TemporaryFile file(image.bytes());
  if (&options == &kDied) record_death(file.path(), kDeath, SIGKILL);
  auto snapshot = read_snapshot(file.path(), options);
  if (!snapshot) throw std::runtime_error(snapshot.error().message);
  return std::move(*snapshot);
}

constexpr uint64_t state(uint64_t since, TaskState state) { return since << 2 | static_cast<uint64_t>(state); }

segment::Task waiting_task(uint64_t id) {
  segment::Task task{};
  task.id = id;
  task.address = 0x9000 + id;
  task.state = state(1000, TaskState::kWaiting);
  task.polls = 5;
  task.poller = kNoPoller;
  return task;
}

segment::Leaf leaf_of(uint64_t task, uint32_t poll = 5, uint32_t flags = kOwnWaker) {
  return {kLeafLive, flags, task, kNoStack, poll, 900, 700, 0};
}

uint64_t monotonic_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

TEST(Snapshot, Process) {
  SegmentImage image;
  image.header().exe = image.add_string("/opt/my shop");
  image.header().cmdline = image.add_string(std::string_view("shop\0\0a b\0", 10));
  image.header().clock.realtime0 = 1'700'000'000'000'000'000;
  const Snapshot snapshot = read(image);
  EXPECT_EQ(snapshot.process.pid, 42u);
  EXPECT_EQ(snapshot.process.exe, "/opt/my shop");
  EXPECT_THAT(snapshot.process.cmdline, ElementsAre("shop", "", "a b"));
  EXPECT_EQ(snapshot.process.start_realtime_ns, 1'700'000'000'000'000'000);
  EXPECT_EQ(snapshot.process.state, ProcessState::kKilled);
  EXPECT_EQ(snapshot.agent_off_reason, "");
  EXPECT_TRUE(snapshot.tasks.empty());
}

TEST(Snapshot, TaskFieldsAndDurations) {
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

TEST(Snapshot, EveryState) {
  SegmentImage image;
  for (const auto which : {TaskState::kNone, TaskState::kRunning, TaskState::kWaiting, TaskState::kScheduled}) {
    segment::Task task = waiting_task(1 + static_cast<uint64_t>(which));
    task.state = state(1, which);
    image.add(kTasks, task);
  }
  image.add(kTasks, segment::Task{});  // free
  std::vector<TaskState> states;
  for (const Task& task : read(image).tasks) states.push_back(task.state);
  EXPECT_THAT(states, ElementsAre(TaskState::kNone, TaskState::kRunning, TaskState::kWaiting, TaskState::kScheduled));
}

TEST(Snapshot, DeathThatNobodySawGivesLeastDurations) {
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

TEST(Snapshot, DeathIsReadBackAsItWasRecorded) {
  constexpr int kDumpedCore = 0x80;
  const std::pair<int, ProcessState> ends[] = {{SIGKILL, ProcessState::kKilled},
                                               {SIGTERM, ProcessState::kKilled},
                                               {SIGSEGV | kDumpedCore, ProcessState::kCrashed},
                                               {SIGABRT, ProcessState::kCrashed},
                                               {3 << 8, ProcessState::kExited}};
  for (const auto& [status, expected] : ends) {
    SegmentImage image;
    image.add(kTasks, waiting_task(1));
    const TemporaryFile file(image.bytes());
    record_death(file.path(), kDeath, status);
    const auto snapshot = read_snapshot(file.path());
    ASSERT_TRUE(snapshot);
    EXPECT_EQ(snapshot->process.state, expected) << status;
    EXPECT_FALSE(snapshot->durations_at_least);
    EXPECT_EQ(snapshot->tasks[0].in_state_ns, kDeath - 1000);
  }
  // A file that is no segment stays as it is.
  std::vector<std::byte> other(8192, std::byte{7});
  const TemporaryFile file(other);
  record_death(file.path(), kDeath, SIGKILL);
  std::ifstream in(file.path());
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), std::string(8192, '\7'));
}

TEST(Snapshot, OfARunningProcessDurationsEndNow) {
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

TEST(Snapshot, TicksOfAnotherBootAreConvertedByTheTwoReadings) {
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

// A leaf that renewed none waits since the end of the poll that registered it, of which the task's state tells.
TEST(Snapshot, ALeafWaitsNoLongerThanItsTask) {
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

TEST(Snapshot, LeavesAreConfirmedByTheLastPollOrByTheirExactEnd) {
  SegmentImage image;
  image.add(kTasks, waiting_task(1));
  image.add(kLeaves, leaf_of(1, 5));
  image.add(kLeaves, leaf_of(1, 4));              // its waker outlived its await
  image.add(kLeaves, leaf_of(1, 4, 0));           // a combinator's waker is not renewed on every poll
  image.add(kLeaves, leaf_of(1, 4, kOwnWaker | kNoExactEnd));
  image.add(kLeaves, leaf_of(99));                // of a task that is gone
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

TEST(Snapshot, StuckIsAFactOrIsNotSaid) {
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

TEST(Snapshot, JoinsNameTheTaskWhereItIsKnown) {
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
  EXPECT_EQ(leaves[0].joins_task, std::nullopt);
  EXPECT_EQ(leaves[1].joins_address, waiting_task(2).address);
  EXPECT_EQ(leaves[1].joins_task, 2u);
  EXPECT_EQ(leaves[2].joins_address, 0xdeadu);
  EXPECT_EQ(leaves[2].joins_task, std::nullopt);
  EXPECT_EQ(leaves[3].joins_task, std::nullopt);  // a block_on's address is a thread id
}

TEST(Snapshot, BlockOnIsShownWhileItWaits) {
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

TEST(Snapshot, StacksAreSharedAndWithoutTheAgentsFrames) {
  SegmentImage image;
  image.add(kModules, segment::Module{0, 0x1000, 0x2000, image.add_string("/opt/shop"), 0, {}, 0});
  image.add(kModules, segment::Module{0x5000, 0x5000, 0x6000,
                                      image.add_string("/usr/lib/asynctrace/libasynctrace-agent.so"), 2, {0xab, 1}, 0});
  // Return addresses: 0x5000 ends a call before the agent, 0x6000 one at its very end.
  const uint64_t pcs[] = {0x1100, 0x5001, 0x1200, 0x5000, 0x6000, 0x6001};
  const uint64_t cut[] = {0x1300};
  const uint32_t stack = image.add_stack(pcs, kNoRoot);
  const uint32_t cut_stack = image.add_stack(cut, kTruncated | kIncomplete);
  const uint32_t unfinished = image.add_stack({});
  image.add(kTasks, waiting_task(1));
  for (const uint32_t number : {cut_stack, stack, kNoStack, stack, unfinished, 14u, 1000u}) {
    segment::Leaf leaf = leaf_of(1);
    leaf.stack = number;
    image.add(kLeaves, leaf);
  }
  const Snapshot snapshot = read(image);
  std::vector<std::optional<uint32_t>> stacks;
  for (const Leaf& leaf : snapshot.tasks[0].leaves) stacks.push_back(leaf.stack);
  const std::optional<uint32_t> none;
  EXPECT_THAT(stacks, ElementsAre(0u, 1u, none, 1u, none, none, none));
  ASSERT_EQ(snapshot.stacks.size(), 2u);
  EXPECT_THAT(snapshot.stacks[0].pcs, ElementsAre(0x1300u));
  EXPECT_TRUE(snapshot.stacks[0].truncated && snapshot.stacks[0].incomplete && !snapshot.stacks[0].no_root);
  EXPECT_THAT(snapshot.stacks[1].pcs, ElementsAre(0x1100u, 0x1200u, 0x5000u, 0x6001u));
  EXPECT_TRUE(!snapshot.stacks[1].truncated && !snapshot.stacks[1].incomplete && snapshot.stacks[1].no_root);
  ASSERT_EQ(snapshot.modules.size(), 2u);
  EXPECT_EQ(snapshot.modules[1].path, "/usr/lib/asynctrace/libasynctrace-agent.so");
  EXPECT_THAT(snapshot.modules[1].build_id, ElementsAre(0xab, 1));
  EXPECT_EQ(snapshot.modules[1].bias, 0x5000u);
  EXPECT_TRUE(snapshot.modules[0].build_id.empty());
}

TEST(Snapshot, Threads) {
  SegmentImage image;
  image.add(kThreads, segment::Thread{43, segment::ThreadState::kParked, 3000, 1, 0, 0, 2000, "worker"});
  image.add(kThreads, segment::Thread{44, segment::ThreadState::kOther, 3000, 1, 7, 6, 2000, {}});
  memcpy(image.at<segment::Thread>(kThreads, 1).name, "exactly16letters", 16);
  image.add(kThreads, segment::Thread{45, segment::ThreadState::kOther, 3000, 0, 0, 0, 0, ""});
  image.add(kThreads, segment::Thread{});  // free
  const Snapshot snapshot = read(image);
  ASSERT_EQ(snapshot.threads.size(), 3u);
  EXPECT_EQ(snapshot.threads[0].tid, 43u);
  EXPECT_EQ(snapshot.threads[0].name, "worker");
  EXPECT_EQ(snapshot.threads[0].state, ThreadState::kParked);
  EXPECT_EQ(snapshot.threads[0].in_state_ns, kDeath - 3000);
  EXPECT_EQ(snapshot.threads[0].task, std::nullopt);
  EXPECT_EQ(snapshot.threads[1].name, "exactly16letters");
  EXPECT_EQ(snapshot.threads[1].state, ThreadState::kPolling);
  EXPECT_EQ(snapshot.threads[1].in_state_ns, kDeath - 2000);
  EXPECT_EQ(snapshot.threads[1].task, 7u);
  EXPECT_EQ(snapshot.threads[1].outer_task, 6u);
  EXPECT_EQ(snapshot.threads[2].state, ThreadState::kOther);
}

TEST(Snapshot, EndedThreadsOfARunningProcessAreLeftOut) {
  SegmentImage image;
  const auto own = static_cast<uint32_t>(getpid());
  constexpr uint32_t kNoThread = 0x7fffffff;  // above any kernel's pid_max
  for (const uint32_t tid : {own, kNoThread}) {
    segment::Thread thread{};
    thread.tid = tid;
    image.add(kThreads, thread);
  }
  const auto count = [&](const ReadOptions& options) { return read(image, options).threads.size(); };
  image.header().pid = own;
  EXPECT_EQ(count({ProcessState::kRunning, own}), 1u);
  EXPECT_EQ(count({ProcessState::kRunning, 0}), 2u);
  EXPECT_EQ(count({ProcessState::kExited, own}), 2u);
  image.header().pid = 1;  // another pid namespace: its thread ids mean nothing here
  EXPECT_EQ(count({ProcessState::kRunning, own}), 2u);
}

TEST(Snapshot, LossesAndAnAgentThatIsOff) {
  SegmentImage image;
  for (uint32_t i = 0; i < kCounterCount; i++) image.header().counters[i] = 10 + i;
  image.header().state = AgentState::kOff;
  image.header().off_reason = OffReason::kNoRoom;
  const Snapshot snapshot = read(image);
  EXPECT_EQ(snapshot.lost.leaves, 10u);
  EXPECT_EQ(snapshot.lost.tasks, 11u);
  EXPECT_EQ(snapshot.lost.stacks, 12u);
  EXPECT_EQ(snapshot.lost.threads, 13u);
  EXPECT_EQ(snapshot.lost.unwind_failed, 14u);
  EXPECT_EQ(snapshot.lost.self_waking_stacks, 16u);
  EXPECT_EQ(snapshot.lost.tables_off, 17u);
  EXPECT_EQ(snapshot.agent_off_reason, "no room for its records");
}

TEST(Snapshot, Summary) {
  SegmentImage image;
  Header& header = image.header();
  header.exe = image.add_string("/opt/shop");
  header.cmdline = image.add_string(std::string_view("shop\0-v\0", 8));
  header.start_time = 99;
  header.state = AgentState::kExited;
  memset(header.boot_id, 'b', sizeof(header.boot_id));  // not terminated
  const TemporaryFile file(image.bytes());
  const auto summary = read_summary(file.path());
  ASSERT_TRUE(summary);
  EXPECT_EQ(summary->pid, 42u);
  EXPECT_EQ(summary->start_time, 99u);
  EXPECT_EQ(summary->boot_id, std::string(40, 'b'));
  EXPECT_EQ(summary->exe, "/opt/shop");
  EXPECT_THAT(summary->cmdline, ElementsAre("shop", "-v"));
  EXPECT_TRUE(summary->exited);
}

TEST(Snapshot, FilesThatAreNone) {
  SegmentImage image;
  const TemporaryFile empty({});
  const TemporaryFile cut(image.bytes().first(kPage / 2));
  image.header().version++;
  const TemporaryFile newer(image.bytes());
  image.header().magic[0] = 'a';
  const TemporaryFile other(image.bytes());
  for (const std::string& path : {empty.path(), cut.path(), newer.path(), other.path(), std::string("/tmp"),
                                  std::string("/nonexistent"), std::string("/dev/null")}) {
    const auto snapshot = read_snapshot(path);
    ASSERT_FALSE(snapshot) << path;
    EXPECT_THAT(snapshot.error().message, HasSubstr(path));
    EXPECT_EQ(snapshot.error().exit_code, 1);
    EXPECT_FALSE(read_summary(path));
  }
  EXPECT_THAT(read_snapshot(newer.path()).error().remedy, HasSubstr("belongs to that agent"));
}

TEST(Snapshot, OfGarbageIsBoundedByTheFile) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 200; round++) {
    SegmentImage image;
    for (size_t at = offsetof(Header, pid); at < image.bytes().size(); at += 8) {
      if (at >= offsetof(Header, sections) && at < offsetof(Header, counters)) continue;
      const uint64_t word = random() >> random() % 64;
      memcpy(image.bytes().data() + at, &word, 8);
    }
    for (Section& section : image.header().sections) section.used = static_cast<uint32_t>(random());
    const auto process = static_cast<ProcessState>(round % 6);
    const Snapshot snapshot = read(image, {process, static_cast<uint32_t>(round)});
    EXPECT_LE(snapshot.tasks.size(), test::kItems);
    EXPECT_LE(snapshot.stacks.size(), test::kItems);
    for (const Task& task : snapshot.tasks)
      for (const Leaf& leaf : task.leaves) EXPECT_LT(leaf.stack.value_or(0), std::max<size_t>(snapshot.stacks.size(), 1));
  }
}

}  // namespace
}  // namespace asynctrace
