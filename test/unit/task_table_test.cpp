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
  // What a slot's own record says is not under test here.
  uint32_t find(uint64_t header) const {
    return table_.find(header, [](uint32_t) { return true; });
  }
  TaskTable table_;
};

TEST_F(TaskTableTest, FindsWhatIsThere) {
  EXPECT_EQ(find(header_at(0, 1)), kNone);
  EXPECT_TRUE(table_.insert(header_at(0, 1), 7));
  EXPECT_EQ(find(header_at(0, 1)), 7u);
  EXPECT_EQ(find(header_at(0, 2)), kNone);
  table_.erase(header_at(0, 1), 7);
  EXPECT_EQ(find(header_at(0, 1)), kNone);
  table_.erase(header_at(0, 1), 7);
}

// Half of the address is not kept, so the slot's record decides.
TEST_F(TaskTableTest, TellsHeadersWithOneTagApart) {
  constexpr uint64_t kFirst = 0x7f0000000000, kSecond = kFirst + (uint64_t{1} << 36);
  EXPECT_TRUE(table_.insert(kFirst, 1));
  EXPECT_TRUE(table_.insert(kSecond, 2));
  EXPECT_EQ(table_.find(kFirst, [](uint32_t slot) { return slot == 1; }), 1u);
  EXPECT_EQ(table_.find(kSecond, [](uint32_t slot) { return slot == 2; }), 2u);
  table_.erase(kFirst, 1);
  EXPECT_EQ(table_.find(kFirst, [](uint32_t slot) { return slot == 1; }), kNone);
  EXPECT_EQ(table_.find(kSecond, [](uint32_t slot) { return slot == 2; }), 2u);
}

// Smaller than an entry covers.
TEST_F(TaskTableTest, HoldsAHundredThousandSmallTasksSideBySide) {
  const auto header = [](uint32_t i) { return 0x7f0000000000 + uint64_t{i} * 48; };
  for (uint32_t i = 0; i < 100'000; i++) ASSERT_TRUE(table_.insert(header(i), i));
  for (uint32_t i = 0; i < 100'000; i++)
    ASSERT_EQ(table_.find(header(i), [&](uint32_t slot) { return header(slot) == header(i); }), i);
}

TEST_F(TaskTableTest, AnAddressThatComesBackIsANewTask) {
  for (uint32_t slot = 0; slot < 10'000; slot++) {
    ASSERT_TRUE(table_.insert(header_at(0, 1), slot));
    ASSERT_EQ(find(header_at(0, 1)), slot);
    table_.erase(header_at(0, 1), slot);
  }
}

TEST_F(TaskTableTest, HoldsAMillionTasksOfManyArenas) {
  constexpr uint32_t kArenas = 16, kEach = 65'536;
  for (uint32_t arena = 0; arena < kArenas; arena++)
    for (uint32_t i = 0; i < kEach; i++) ASSERT_TRUE(table_.insert(header_at(arena, i), arena * kEach + i));
  for (uint32_t arena = 0; arena < kArenas; arena++)
    for (uint32_t i = 0; i < kEach; i++) ASSERT_EQ(find(header_at(arena, i)), arena * kEach + i);
}

// Headers side by side share their place, so later ones move on; an erased one in between must not hide them.
TEST_F(TaskTableTest, ErasedNeighboursDoNotHideOthers) {
  const auto header = [](uint32_t i) { return 0x7f0000000000 + uint64_t{i} * 16; };
  for (uint32_t i = 0; i < 64; i++) ASSERT_TRUE(table_.insert(header(i), i));
  for (uint32_t i = 0; i < 64; i += 2) table_.erase(header(i), i);
  for (uint32_t i = 0; i < 64; i++) EXPECT_EQ(find(header(i)), i % 2 != 0 ? i : kNone);
  for (uint32_t i = 0; i < 64; i += 2) ASSERT_TRUE(table_.insert(header(i), 100 + i));
  for (uint32_t i = 0; i < 64; i++) EXPECT_EQ(find(header(i)), i % 2 != 0 ? i : 100 + i);
}

TEST_F(TaskTableTest, RefusesASlotThatAnEntryCannotHold) {
  EXPECT_TRUE(table_.insert(header_at(0, 1), (1u << 23) - 2));
  EXPECT_EQ(find(header_at(0, 1)), (1u << 23) - 2);
  EXPECT_FALSE(table_.insert(header_at(0, 2), (1u << 23) - 1));
  EXPECT_EQ(find(header_at(0, 2)), kNone);
}

TEST_F(TaskTableTest, RefusesWhatItCannotFindAgain) {
  const uint64_t header = 0x7f0000000000;
  uint32_t inserted = 0;
  while (inserted < 20'000 && table_.insert(header, inserted)) inserted++;
  EXPECT_EQ(inserted, 256u);
}

// Threads insert and erase tasks that share places, each its own; it must always find what it has inserted,
// and never a slot of another thread.
TEST_F(TaskTableTest, ThreadsDoNotDisturbEachOther) {
  constexpr uint32_t kThreads = 4, kHeaders = 32, kRounds = 2'000;
  std::atomic<int> wrong{0};
  const auto work = [&](uint32_t self) {
    for (uint32_t round = 0; round < kRounds; round++) {
      const auto header = [&](uint32_t i) { return uint64_t{0x7f0000000000} + i * 64 + self * 16; };
      const auto slot = [&](uint32_t i) { return self << 16 | round << 5 | i; };
      for (uint32_t i = 0; i < kHeaders; i++)
        if (!table_.insert(header(i), slot(i))) wrong++;
      for (uint32_t i = 0; i < kHeaders; i++)
        if (find(header(i)) != slot(i)) wrong++;
      for (uint32_t i = 0; i < kHeaders; i++) table_.erase(header(i), slot(i));
      for (uint32_t i = 0; i < kHeaders; i++)
        if (find(header(i)) != kNone) wrong++;
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
      const uint32_t slot = find(kHeader);
      if (slot == kNone) continue;
      found++;
      if (slot % 2 != 0) wrong++;  // the neighbour's
    } while (!done.load(std::memory_order_relaxed));
  });
  for (uint32_t round = 0; round < 100'000; round += 2) {
    table_.insert(kHeader, round);
    table_.insert(kNeighbour, round + 1);
    table_.erase(kHeader, round);
    table_.erase(kNeighbour, round + 1);
  }
  done = true;
  finder.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace asynctrace::agent
