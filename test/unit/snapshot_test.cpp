// What read_snapshot() tells of a process, its threads and its stacks. Also built with AddressSanitizer and
// UndefinedBehaviorSanitizer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <random>

#include "test/unit/snapshot_of.hpp"

namespace asynctrace {
namespace {

// A snapshot's own names before those of the segment.
using asynctrace::Leaf;
using asynctrace::Task;
using asynctrace::ThreadState;
using namespace segment;
using namespace test;
using testing::ElementsAre;
using testing::HasSubstr;

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
    record_death(file.path(), {status, kDeath});
    const auto snapshot = read_snapshot(file.path());
    ASSERT_TRUE(snapshot);
    EXPECT_EQ(snapshot->process.state, expected) << status;
    EXPECT_FALSE(snapshot->durations_at_least);
    EXPECT_EQ(snapshot->tasks[0].in_state_ns, kDeath - 1000);
  }
  // A file that is no segment stays as it is.
  std::vector<std::byte> other(8192, std::byte{7});
  const TemporaryFile file(other);
  record_death(file.path(), {SIGKILL, kDeath});
  std::ifstream in(file.path());
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), std::string(8192, '\7'));
}

SegmentImage aborted_image() {
  SegmentImage image;
  image.add(kModules,
            segment::Module{0x5000, 0x5000, 0x6000, image.add_string("/x/libasynctrace-agent.so"), 0, {}, 0});
  image.add(kThreads, segment::Thread{43, segment::ThreadState::kOther, 1, 1, 7, 6, 9000, "worker"});
  image.header().poll_hook_start = 0x5000;
  image.header().poll_hook_end = 0x5100;
  image.header().crash = {43, SIGABRT, CrashSource::kAbort, 3, 9500, 7, 9000, {0x1100, 0x5001, 0x1200}};
  return image;
}

TEST(Snapshot, AnAbortIsACrashThoughNobodySawTheEnd) {
  SegmentImage image = aborted_image();
  const Snapshot snapshot = read(image, {});
  EXPECT_EQ(snapshot.process.state, ProcessState::kCrashed);
  ASSERT_TRUE(snapshot.crash);
  EXPECT_EQ(snapshot.crash->signal, SIGABRT);
  EXPECT_EQ(snapshot.crash->tid, 43u);
  EXPECT_EQ(snapshot.crash->task, 7u);
  EXPECT_EQ(snapshot.crash->in_poll_ns, 500u);  // until the call
  ASSERT_TRUE(snapshot.crash->stack);
  EXPECT_THAT(snapshot.stacks[*snapshot.crash->stack].pcs, ElementsAre(0x1100u, 0x5001u, 0x1200u));
  EXPECT_FALSE(snapshot.stacks[*snapshot.crash->stack].truncated);
  EXPECT_TRUE(snapshot.agent.has_return(0x5001) && snapshot.poll_hook.has_return(0x5100));
  EXPECT_FALSE(snapshot.poll_hook.has_return(0x5101) || snapshot.poll_hook.has_return(0x5000));
  // As long as it lives it may go on.
  EXPECT_FALSE(read(image, {ProcessState::kRunning}).crash);
  EXPECT_FALSE(read(image, {ProcessState::kExited}).crash);
}

TEST(Snapshot, AnAbortThatWasSurvivedIsForgotten) {
  SegmentImage image = aborted_image();
  EXPECT_FALSE(read(image).crash);  // killed later
  image.at<segment::Thread>(kThreads, 0).poll_since = 9600;
  const Snapshot unseen = read(image, {});
  EXPECT_EQ(unseen.process.state, ProcessState::kUnknown);
  EXPECT_FALSE(unseen.crash);
  const TemporaryFile file(image.bytes());
  record_death(file.path(), {SIGABRT, kDeath});
  const auto snapshot = read_snapshot(file.path());
  ASSERT_TRUE(snapshot && snapshot->crash);
  EXPECT_FALSE(snapshot->crash->tid);
  EXPECT_EQ(snapshot->crash->no_stack_reason, "nobody saw it");
}

TEST(Snapshot, WhatRunSawOfACrash) {
  SegmentImage image = aborted_image();
  const TemporaryFile file(image.bytes());
  record_death(file.path(), {SIGSEGV, kDeath, CrashedThread{CrashSource::kTraced, SIGSEGV, 43, {0x1300}}});
  auto snapshot = read_snapshot(file.path());
  ASSERT_TRUE(snapshot && snapshot->crash && snapshot->crash->stack);
  EXPECT_EQ(snapshot->crash->signal, SIGSEGV);
  EXPECT_EQ(snapshot->crash->task, 7u);
  EXPECT_EQ(snapshot->crash->in_poll_ns, 1000u);
  EXPECT_THAT(snapshot->stacks[*snapshot->crash->stack].pcs, ElementsAre(0x1300u));
  // Longer than there is room for, in a thread that the agent has not seen.
  const std::vector<uint64_t> deep(1000, 0x1300);
  record_death(file.path(), {SIGSEGV, kDeath, CrashedThread{CrashSource::kCore, SIGSEGV, 99, deep}});
  snapshot = read_snapshot(file.path());
  ASSERT_TRUE(snapshot && snapshot->crash && snapshot->crash->stack);
  EXPECT_FALSE(snapshot->crash->task);
  EXPECT_EQ(snapshot->stacks[*snapshot->crash->stack].pcs.size(), kMaxCrashFrames);
  EXPECT_TRUE(snapshot->stacks[*snapshot->crash->stack].truncated);

  record_death(file.path(), {SIGBUS, kDeath, CrashedThread{CrashSource::kNoCore, SIGBUS, 0, {}}});
  snapshot = read_snapshot(file.path());
  ASSERT_TRUE(snapshot && snapshot->crash);
  EXPECT_EQ(snapshot->crash->signal, SIGBUS);
  EXPECT_FALSE(snapshot->crash->tid || snapshot->crash->stack);
  EXPECT_EQ(snapshot->crash->no_stack_reason, "no core file was written");
}

TEST(Snapshot, StacksAreSharedAndWithoutTheAgentsFrames) {
  SegmentImage image;
  image.add(kModules, segment::Module{0, 0x1000, 0x2000, image.add_string("/opt/shop"), 0, {}, 0});
  image.add(kModules, segment::Module{0x5000,
                                      0x5000,
                                      0x6000,
                                      image.add_string("/usr/lib/asynctrace/libasynctrace-agent.so"),
                                      2,
                                      {0xab, 1},
                                      0});
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
    EXPECT_LE(snapshot.stacks.size(), 2 * test::kItems + 1);  // of leaves and callbacks, one of a crash
    for (const Task& task : snapshot.tasks)
      for (const Leaf& leaf : task.leaves)
        EXPECT_LT(leaf.stack.value_or(0), std::max<size_t>(snapshot.stacks.size(), 1));
  }
}

}  // namespace
}  // namespace asynctrace
