// Leaf and task records as hooks make them, seen by the reader.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "common/segment_reader.hpp"
#include "test/unit/started_agent.hpp"

namespace asynctrace::agent {
namespace {

using segment::TaskKind;
using segment::TaskState;

SegmentReader reader() {
  const segment::Header& header = g_segment.header();
  return std::get<SegmentReader>(
      SegmentReader::open({reinterpret_cast<const std::byte*>(&header), header.file_size}));
}

class LeavesTest : public StartedAgent {
 protected:
  void SetUp() override {
    const HookGuard guard(current_thread());
    task_ = add_task(guard, TaskKind::kTask, 0x1000, 0);
    id_ = task_entry(task_).id;
  }
  void TearDown() override {
    const HookGuard guard(current_thread());
    end_task(guard, task_, id_);
    current_thread()->frame = nullptr;
  }

  LeafOwner owner(uint32_t poll, uint64_t registered) const {
    return {task_, id_, poll, true, registered, registered};
  }
  uint32_t begin(uint32_t poll, uint64_t registered, uint32_t stack = 1) {
    const HookGuard guard(current_thread());
    return begin_leaf(guard, owner(poll, registered), stack);
  }
  void end(uint32_t leaf, bool dropped = true) {
    const HookGuard guard(current_thread());
    end_leaf(guard, leaf, dropped);
  }
  // A poll of the task is under way, with that number.
  void polling(uint32_t poll) {
    frame_ = {};
    frame_.task_id = id_;
    frame_.task = task_;
    frame_.poll = poll;
    current_thread()->frame = &frame_;
  }
  std::vector<segment::Leaf> leaves_of_task() const {
    std::vector<segment::Leaf> found;
    const SegmentReader segment = reader();
    for (uint32_t i = 0; i < segment.used(segment::kLeaves); i++)
      if (const auto leaf = segment.leaf(i); leaf && leaf->task == id_) found.push_back(*leaf);
    return found;
  }

  Frame frame_{};
  uint32_t task_ = kNone;
  uint64_t id_ = 0;
};

TEST_F(LeavesTest, ALeafIsThereFromItsBeginToItsEnd) {
  current_thread()->joining = 0x77;
  const uint32_t leaf = begin(3, 100, 9);
  current_thread()->joining = 0;
  const auto found = reader().leaf(leaf);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->task, id_);
  EXPECT_EQ(found->poll, 3u);
  EXPECT_EQ(found->stack, 9u);
  EXPECT_EQ(found->registered, 100u);
  EXPECT_EQ(found->since, 100u);
  EXPECT_EQ(found->joins, 0x77u);
  EXPECT_EQ(found->flags, segment::kOwnWaker);
  end(leaf);
  EXPECT_FALSE(reader().leaf(leaf));
}

// A leaf renews its waker in place by cloning the new one before or after it drops the old one.
TEST_F(LeavesTest, ARenewedLeafKeepsItsTime) {
  uint32_t leaf = begin(1, 100);
  task_entry(task_).poll_ended = 150;
  polling(2);
  uint32_t next = begin(2, 200);
  end(leaf);
  EXPECT_EQ(reader().leaf(next)->since, 150u) << "cloned first: waits since the end of poll 1";
  leaf = next;
  polling(3);
  end(leaf);
  next = begin(3, 300);
  EXPECT_EQ(reader().leaf(next)->since, 150u) << "dropped first";
  EXPECT_EQ(reader().leaf(next)->registered, 300u);
  end(next);
}

TEST_F(LeavesTest, OnlyTheSameLeafOfTheSameTaskKeepsItsTime) {
  const auto since_after = [&](auto change) {
    const uint32_t leaf = begin(1, 100);
    polling(2);
    uint32_t stack = 1;
    bool dropped = true;
    change(leaf, stack, dropped);
    end(leaf, dropped);
    const uint32_t next = begin(2, 200, stack);
    const uint64_t since = reader().leaf(next)->since;
    end(next, false);
    current_thread()->frame = nullptr;
    current_thread()->ended = {};
    return since;
  };
  task_entry(task_).poll_ended = 150;
  EXPECT_EQ(since_after([](auto, auto&, auto&) {}), 150u);
  EXPECT_EQ(since_after([](auto, auto& stack, auto&) { stack = 2; }), 200u) << "another place";
  EXPECT_EQ(since_after([](auto, auto&, auto& dropped) { dropped = false; }), 200u) << "woken";
  EXPECT_EQ(since_after([](auto leaf, auto&, auto&) { leaf_entry(leaf).woken = true; }), 200u)
      << "woken by reference";
  EXPECT_EQ(since_after([&](auto, auto&, auto&) { frame_.task_id = id_ + 1; }), 200u)
      << "in another task's poll";
  EXPECT_EQ(since_after([&](auto, auto&, auto&) { frame_.poll = 1; }), 200u) << "twice in one poll";
}

TEST_F(LeavesTest, LeavesWithoutAnExactEnd) {
  const auto renew = [&](uint32_t stack, uint32_t poll, uint64_t at) {
    const HookGuard guard(current_thread());
    renew_inexact_leaf(guard, owner(poll, at), stack);
  };
  renew(1, 1, 100);
  renew(1, 2, 200);
  ASSERT_EQ(leaves_of_task().size(), 1u);
  EXPECT_EQ(leaves_of_task()[0].since, 100u);
  EXPECT_EQ(leaves_of_task()[0].registered, 200u);
  EXPECT_EQ(leaves_of_task()[0].poll, 2u);
  EXPECT_EQ(leaves_of_task()[0].flags, segment::kOwnWaker | segment::kNoExactEnd);
  for (uint32_t stack = 2; stack < 20; stack++) renew(stack, 3, 300);
  std::set<uint32_t> stacks;
  for (const segment::Leaf& leaf : leaves_of_task()) stacks.insert(leaf.stack);
  EXPECT_EQ(stacks.size(), 8u);
  EXPECT_TRUE(stacks.contains(19));
  {
    const HookGuard guard(current_thread());
    end_inexact_leaves(guard, task_entry(task_));
  }
  EXPECT_TRUE(leaves_of_task().empty());
  renew(1, 4, 400);
  EXPECT_EQ(leaves_of_task().size(), 1u);  // TearDown ends the task, and it with it
}

TEST_F(LeavesTest, ASignalHandlerInsideAHookMayEndALeaf) {
  const uint32_t leaf = begin(1, 100);
  {
    const HookGuard outer(current_thread());
    const HookGuard inner(current_thread());
    EXPECT_TRUE(outer);
    EXPECT_FALSE(inner);
    end_leaf(inner, leaf, true);
  }
  EXPECT_FALSE(reader().leaf(leaf));
}

TEST_F(LeavesTest, WhatFindsNoRoomIsCountedAndComesBack) {
  std::vector<uint32_t> taken;
  const uint64_t before = lost(segment::kLostLeaves);
  for (uint32_t leaf = begin(1, 1); leaf != kNone; leaf = begin(1, 1)) taken.push_back(leaf);
  EXPECT_EQ(lost(segment::kLostLeaves), before + 1);
  EXPECT_GT(taken.size(), 100'000u);
  for (const uint32_t leaf : taken) end(leaf);
  const uint32_t leaf = begin(1, 1);
  EXPECT_NE(leaf, kNone);
  end(leaf);
}

// All fields of a record are made from one number, by threads that begin and end records as fast as they can;
// a reader that ever gets a mixture has seen a torn one. The writers tell it where to look, and go on until
// it has seen enough.
constexpr int kWriters = 3;
constexpr uint64_t kEnough = 100'000;

TEST_F(LeavesTest, NoLeafIsTorn) {
  std::atomic<uint32_t> where[kWriters] = {};
  std::atomic<bool> done{false};
  const auto write = [&](uint64_t writer) {
    ThreadContext* context = current_thread();
    for (uint64_t n = writer << 40; !done; n++) {
      const HookGuard guard(context);
      context->joining = n * 5;
      const auto number = static_cast<uint32_t>(n);
      const uint32_t leaf = begin_leaf(guard, {task_, n, number * 2, (n & 1) != 0, n * 3, n * 3}, number * 7);
      where[writer - 1] = leaf;
      end_leaf(guard, leaf, false);
    }
  };
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < kWriters; i++) threads.emplace_back(write, i + 1);
  const SegmentReader segment = reader();
  uint64_t seen = 0, torn = 0, last[kWriters] = {};
  for (uint32_t i = 0; seen < kEnough; i = (i + 1) % kWriters) {
    const auto leaf = segment.leaf(where[i]);
    if (!leaf || leaf->task == id_ || leaf->task == last[i]) continue;
    seen++;
    last[i] = leaf->task;
    const uint64_t n = leaf->task;
    const auto number = static_cast<uint32_t>(n);
    const bool whole = leaf->poll == number * 2 && leaf->stack == number * 7 && leaf->registered == n * 3 &&
                       leaf->since == n * 3 && leaf->joins == n * 5 && leaf->flags == (n & 1);
    if (!whole) torn++;
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(torn, 0u);
}

TEST_F(LeavesTest, NoTaskIsTorn) {
  std::atomic<uint32_t> where[kWriters] = {};
  std::atomic<bool> done{false};
  const auto write = [&](uint64_t writer) {
    ThreadContext* context = current_thread();
    for (uint64_t n = writer << 40; !done; n++) {
      const HookGuard guard(context);
      const uint32_t slot = add_task(guard, TaskKind::kTask, n * 64, static_cast<uint16_t>(n));
      if (slot == kNone) continue;
      where[writer - 1] = slot;
      end_task(guard, slot, task_entry(slot).id);
    }
  };
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < kWriters; i++) threads.emplace_back(write, i + 1);
  const SegmentReader segment = reader();
  uint64_t seen = 0, torn = 0, last[kWriters] = {};
  for (uint32_t i = 0; seen < kEnough; i = (i + 1) % kWriters) {
    const auto task = segment.task(where[i]);
    if (!task || task->id == id_ || task->id == last[i]) continue;
    seen++;
    last[i] = task->id;
    if (task->poller != static_cast<uint16_t>(task->address / 64)) torn++;
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(torn, 0u);
}

TEST_F(LeavesTest, StatesOfATask) {
  const auto state = [&] { return reader().task(task_)->state; };
  const auto packed = [](uint64_t ticks, TaskState state) {
    return ticks << 2 | static_cast<uint64_t>(state);
  };
  EXPECT_EQ(begin_task_poll(task_, 100, 7), 1u);
  EXPECT_EQ(state(), packed(100, TaskState::kRunning));
  end_task_poll(task_, 100, 130, TaskState::kWaiting);
  EXPECT_EQ(state(), packed(130, TaskState::kWaiting));
  mark_woken(task_, id_ + 1);
  EXPECT_EQ(state(), packed(130, TaskState::kWaiting))
      << "woken was another task, which had this slot before";
  mark_woken(task_, id_);
  EXPECT_EQ(state() & 3, static_cast<uint64_t>(TaskState::kScheduled));
  EXPECT_EQ(reader().task(task_)->wakes, 1u);
  mark_woken(task_, id_);
  EXPECT_EQ(reader().task(task_)->wakes, 1u);
  // Woken and polled again elsewhere before its last poll has returned.
  EXPECT_EQ(begin_task_poll(task_, 200, 8), 2u);
  EXPECT_EQ(begin_task_poll(task_, 210, 9), 3u);
  end_task_poll(task_, 200, 220, TaskState::kWaiting);
  EXPECT_EQ(state(), packed(210, TaskState::kRunning));
  const auto task = reader().task(task_);
  EXPECT_EQ(task->busy, 50u);
  EXPECT_EQ(task->max_poll, 30u);
  EXPECT_EQ(task->last_tid, 9u);
}

TEST_F(LeavesTest, AnAddressThatComesBackIsANewTask) {
  EXPECT_EQ(find_task(0x1000), task_);
  {
    const HookGuard guard(current_thread());
    end_task(guard, task_, id_);
    EXPECT_EQ(find_task(0x1000), kNone);
    EXPECT_FALSE(reader().task(task_));
    const uint64_t old = id_;
    task_ = add_task(guard, TaskKind::kTask, 0x1000, 0);
    id_ = task_entry(task_).id;
    EXPECT_GT(id_, old);
    end_task(guard, task_, old);  // seen late by another thread
  }
  EXPECT_EQ(find_task(0x1000), task_);
  EXPECT_EQ(reader().task(task_)->id, id_);
}

// Leaves the section as a forked child finds its new segment; returns what stood there, its parent's records.
template <typename T>
std::vector<T> take_all(segment::SectionId id) {
  T* items = g_segment.items<T>(id);
  std::vector<T> taken(items, items + g_segment.used(id));
  std::fill_n(items, taken.size(), T{});
  return taken;
}

TEST_F(LeavesTest, AfterAForkLeavesAreCopiedUnlessTheParentHasChangedThem) {
  const uint64_t lost_before = lost(segment::kLostAtFork);
  const uint32_t kept = begin(3, 100, 9);
  const uint32_t changed = begin(3, 101, 10);
  auto parents = take_all<segment::Leaf>(segment::kLeaves);
  parents[changed].seq += 4;
  republish_leaves(parents.data());
  const auto leaf = reader().leaf(kept);
  ASSERT_TRUE(leaf);
  EXPECT_EQ(leaf->task, id_);
  EXPECT_EQ(leaf->stack, 9u);
  EXPECT_EQ(leaf->since, 100u);
  EXPECT_FALSE(reader().leaf(changed));
  EXPECT_EQ(lost(segment::kLostAtFork), lost_before + 1);
  // Its own child copies from what it has written itself.
  const auto again = take_all<segment::Leaf>(segment::kLeaves);
  republish_leaves(again.data());
  EXPECT_TRUE(reader().leaf(kept));
  end(kept);
  end(changed);
  EXPECT_FALSE(reader().leaf(kept));
}

TEST_F(LeavesTest, AfterAForkATaskWhoseRecordTheParentHasReusedIsKnownSinceTheFork) {
  const uint64_t created = reader().task(task_)->created;
  const auto parents = take_all<segment::Task>(segment::kTasks);
  republish_tasks(parents.data());
  ASSERT_TRUE(reader().task(task_));
  EXPECT_EQ(reader().task(task_)->id, id_);
  EXPECT_EQ(reader().task(task_)->address, 0x1000u);
  EXPECT_EQ(reader().task(task_)->created, created);
  auto reused = take_all<segment::Task>(segment::kTasks);
  reused[task_].id += 1;
  republish_tasks(reused.data());
  EXPECT_EQ(reader().task(task_)->id, id_);
  EXPECT_EQ(reader().task(task_)->address, 0x1000u);
  EXPECT_GT(reader().task(task_)->created, created);
}

}  // namespace
}  // namespace asynctrace::agent
