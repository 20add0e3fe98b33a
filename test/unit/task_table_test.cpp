// TaskTable: what was inserted is found until it is erased, whatever other threads do beside it. Also built
// with ThreadSanitizer.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "agent/task_table.hpp"

namespace asynctrace::agent {
namespace {

// As malloc hands them out: 16-aligned, in arenas that begin at multiples of 64 MiB.
constexpr uint64_t kArena = uint64_t{64} << 20;
constexpr uint64_t header_at(uint32_t arena, uint32_t number) {
  return 0x7f0000000000 + arena * kArena + number * 128;
}

class TaskTableTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(table_.start()); }
  TaskTable table_;
};

TEST_F(TaskTableTest, FindsWhatIsThere) {
  EXPECT_EQ(table_.find(header_at(0, 1)), kNone);
  EXPECT_TRUE(table_.insert(header_at(0, 1), 7));
  EXPECT_EQ(table_.find(header_at(0, 1)), 7u);
  EXPECT_EQ(table_.find(header_at(0, 2)), kNone);
  table_.erase(header_at(0, 1));
  EXPECT_EQ(table_.find(header_at(0, 1)), kNone);
  table_.erase(header_at(0, 1));
}

TEST_F(TaskTableTest, AnAddressThatComesBackIsANewTask) {
  for (uint32_t slot = 0; slot < 10'000; slot++) {
    ASSERT_TRUE(table_.insert(header_at(0, 1), slot));
    ASSERT_EQ(table_.find(header_at(0, 1)), slot);
    table_.erase(header_at(0, 1));
  }
}

TEST_F(TaskTableTest, HoldsAMillionTasksOfManyArenas) {
  constexpr uint32_t kArenas = 16, kEach = 65'536;
  for (uint32_t arena = 0; arena < kArenas; arena++)
    for (uint32_t i = 0; i < kEach; i++) ASSERT_TRUE(table_.insert(header_at(arena, i), arena * kEach + i));
  for (uint32_t arena = 0; arena < kArenas; arena++)
    for (uint32_t i = 0; i < kEach; i++) ASSERT_EQ(table_.find(header_at(arena, i)), arena * kEach + i);
}

// Headers in one cache line share their place, so later ones move on; an erased one in between must not hide
// them.
TEST_F(TaskTableTest, ErasedNeighboursDoNotHideOthers) {
  constexpr uint64_t kBase = 0x7f0000000000;
  for (uint32_t i = 0; i < 64; i++) ASSERT_TRUE(table_.insert(kBase + i, i));
  for (uint32_t i = 0; i < 64; i += 2) table_.erase(kBase + i);
  for (uint32_t i = 0; i < 64; i++) EXPECT_EQ(table_.find(kBase + i), i % 2 != 0 ? i : kNone);
  for (uint32_t i = 0; i < 64; i += 2) ASSERT_TRUE(table_.insert(kBase + i, 100 + i));
  for (uint32_t i = 0; i < 64; i++) EXPECT_EQ(table_.find(kBase + i), i % 2 != 0 ? i : 100 + i);
}

TEST_F(TaskTableTest, RefusesWhatItCannotFindAgain) {
  constexpr uint64_t kBase = 0x7f0000000000;
  uint32_t inserted = 0;
  // Far more than can be probed; those that got in stay findable.
  for (uint64_t i = 0; i < 20'000; i++)
    if (table_.insert(kBase + i % 64 + i / 64 * 8, static_cast<uint32_t>(i))) inserted++;
    else break;
  EXPECT_LT(inserted, 20'000u);
  EXPECT_GE(inserted, 256u);
}

// Threads insert and erase tasks that share places, each its own; it must always find what it has inserted,
// and never a slot of another thread.
TEST_F(TaskTableTest, ThreadsDoNotDisturbEachOther) {
  constexpr uint32_t kThreads = 4, kHeaders = 32, kRounds = 2'000;
  std::atomic<int> wrong{0};
  const auto work = [&](uint32_t self) {
    for (uint32_t round = 0; round < kRounds; round++) {
      const auto header = [&](uint32_t i) { return uint64_t{0x7f0000000000} + i * 64 + self * 16; };
      const auto slot = [&](uint32_t i) { return self << 24 | round << 8 | i; };
      for (uint32_t i = 0; i < kHeaders; i++)
        if (!table_.insert(header(i), slot(i))) wrong++;
      for (uint32_t i = 0; i < kHeaders; i++)
        if (table_.find(header(i)) != slot(i)) wrong++;
      for (uint32_t i = 0; i < kHeaders; i++) table_.erase(header(i));
      for (uint32_t i = 0; i < kHeaders; i++)
        if (table_.find(header(i)) != kNone) wrong++;
    }
  };
  std::vector<std::thread> threads;
  for (uint32_t self = 0; self < kThreads; self++) threads.emplace_back(work, self);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

// A waker may look its task up while another thread ends it: the answer is that task or none.
TEST_F(TaskTableTest, FindBesideEraseGivesThatTaskOrNone) {
  constexpr uint64_t kHeader = 0x7f0000000000, kNeighbour = kHeader + 16;
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0}, found{0};
  std::thread finder([&] {
    do {
      const uint32_t slot = table_.find(kHeader);
      if (slot == kNone) continue;
      found++;
      if (slot % 2 != 0) wrong++;  // the neighbour's
    } while (!done.load(std::memory_order_relaxed));
  });
  for (uint32_t round = 0; round < 100'000; round += 2) {
    table_.insert(kHeader, round);
    table_.insert(kNeighbour, round + 1);
    table_.erase(kHeader);
    table_.erase(kNeighbour);
  }
  done = true;
  finder.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace asynctrace::agent
