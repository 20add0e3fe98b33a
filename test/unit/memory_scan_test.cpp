// The scan for tasks over memory written by hand: what it takes for a task, and what only looks like one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/census/memory_scan.hpp"
#include "test/unit/hand_built_types.hpp"

namespace asynctrace {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kHeap = 0x10000, kHeapEnd = 0x18000, kStack = 0x30000, kStackEnd = 0x31000;
constexpr uint64_t kTable = 0x5000, kAsyncTable = 0x5100;
constexpr uint64_t kIdOffset = 40;
// tokio's state word: references, then flags.
constexpr uint64_t kOne = 64, kRunning = 1, kComplete = 2, kNotified = 4, kJoinInterest = 8;
constexpr uint64_t kWaiting = 3 * kOne | kJoinInterest;

class MemoryScanTest : public ::testing::Test {
 protected:
  MemoryScanTest() {
    auto memory = std::make_unique<HandBuiltMemory>();
    memory_ = memory.get();
    for (uint64_t at = kHeap; at < kHeapEnd; at += 8) memory_->put(at, 0);
    for (uint64_t at = kStack; at < kStackEnd; at += 8) memory_->put(at, 0);
    image_.memory = std::move(memory);
    image_.writable = {{kHeap, kHeapEnd, false}, {kStack, kStackEnd, true}};
  }

  struct Words {
    uint64_t state = kWaiting, queue_next = 0, owner = 1, id = 7;
  };
  void put(uint64_t address, const Words& words) {
    memory_->put(address, words.state);
    memory_->put(address + 8, words.queue_next);
    memory_->put(address + 16, kTable);
    memory_->put(address + 24, words.owner);
    memory_->put(address + kIdOffset, words.id);
  }
  void put_async_task(uint64_t address, uint64_t state, uint64_t awaiter) {
    memory_->put(address, state);
    memory_->put(address + 8, awaiter);
    memory_->put(address + 16, awaiter);
    memory_->put(address + 24, kAsyncTable);
  }

  std::vector<TaskHeader> scan() { return scan_for_tasks(image_, tables_); }
  std::vector<uint64_t> found() {
    std::vector<uint64_t> addresses;
    for (const TaskHeader& header : scan()) addresses.push_back(header.address);
    return addresses;
  }

  HandBuiltMemory* memory_;
  ProcessImage image_;
  std::vector<TaskTable> tables_ = {{kAsyncTable, 0x200, RuntimeId::kAsyncTask, 24, 0, {}},
                                    {kTable, 0x100, RuntimeId::kTokio, 16, 0, kIdOffset}};
};

TEST_F(MemoryScanTest, TasksInTheOrderOfTheirNumbers) {
  put(0x10100, {.id = 9});
  put(0x10200, {.id = 2});
  put(kHeapEnd - 48, {.id = 5});
  EXPECT_THAT(found(), ElementsAre(0x10200, kHeapEnd - 48, 0x10100));
}

TEST_F(MemoryScanTest, StatesByTheStateWord) {
  put(0x10100, {.state = 2 * kOne | kRunning, .id = 1});
  put(0x10200, {.state = 3 * kOne | kNotified, .id = 2});
  put(0x10300, {.id = 3});
  put(0x10400, {.state = 2 * kOne | kJoinInterest, .id = 4});
  const auto headers = scan();
  ASSERT_EQ(headers.size(), 4u);
  EXPECT_EQ(state_of(headers[0]), TaskState::kRunning);
  EXPECT_EQ(state_of(headers[1]), TaskState::kScheduled);
  EXPECT_EQ(state_of(headers[2]), TaskState::kWaiting);
  EXPECT_FALSE(is_stuck(headers[0]) || is_stuck(headers[1]) || is_stuck(headers[2]));
  EXPECT_TRUE(is_stuck(headers[3])) << "only its list and its JoinHandle refer to it";
}

TEST_F(MemoryScanTest, WhatOnlyLooksLikeATask) {
  const Words none[] = {
      {.state = kJoinInterest},                                    // freed: no reference is left
      {.state = kWaiting | kComplete},                             // it has ended
      {.state = 0x7f12'3456'7890},                                 // freed: the link of a list of free chunks
      {.state = 0x7f123456, .queue_next = 0xb548'aa5c'c93a'0b8a},  // freed: the key of one
      {.queue_next = 0x17000},                                     // no task is there
      {.queue_next = 0x10901},
      {.owner = 0x7f12'3456'7890},
      {.id = 0},
      {.id = UINT64_MAX},
  };
  uint64_t at = 0x10100;
  for (const Words& words : none) put(at += 0x100, words);
  put(0x10106, {});  // not aligned
  EXPECT_THAT(found(), IsEmpty());
  put(0x12000, {.id = 1});
  put(0x12100, {.queue_next = 0x12000, .id = 2});
  EXPECT_THAT(found(), ElementsAre(0x12000, 0x12100));
}

TEST_F(MemoryScanTest, CopiesOnTheWayToTheHeap) {
  put(kStack + 0x100, {.owner = 0});
  EXPECT_THAT(found(), IsEmpty());
  put(0x10100, {.owner = 0});  // where no stack is known
  put(0x10200, {});
  EXPECT_THAT(found(), ElementsAre(0x10200)) << "the one with an owner is the task";
}

TEST_F(MemoryScanTest, ABlockingTaskHasNoOwner) {
  put(0x10100, {.state = 2 * kOne | kRunning, .owner = 0});
  EXPECT_THAT(found(), ElementsAre(0x10100));
}

TEST_F(MemoryScanTest, AroundWhatCannotBeRead) {
  put(0x10100, {.id = 1});
  put(kStack + 0x100, {.id = 2});
  image_.writable = {{kHeap - 0x8000, kStackEnd + 0x3000, false}};
  EXPECT_THAT(found(), ElementsAre(0x10100, kStack + 0x100));
}

TEST_F(MemoryScanTest, TasksOfAsyncTask) {
  constexpr uint64_t kReference = 256, kHandle = 16, kClosed = 8;
  put_async_task(0x10100, 2 * kReference, 0);
  put_async_task(0x10200, kHandle, 0x7000);
  put_async_task(0x10300, kReference | kClosed, 0);
  put_async_task(0x10400, 0, 0);
  put_async_task(0x10500, kReference, 0xb548'aa5c'c93a'0b8a);
  const auto headers = scan();
  EXPECT_THAT(found(), ElementsAre(0x10100, 0x10200));
  EXPECT_FALSE(is_stuck(headers[0]));
  EXPECT_TRUE(is_stuck(headers[1])) << "nobody has a waker";
}

TEST_F(MemoryScanTest, TheOrderThatMostTasksShow) {
  for (const uint64_t at : {0x10100, 0x10200}) {
    memory_->put(at, kAsyncTable);
    memory_->put(at + 8, 0x200);
  }
  memory_->put(0x10200 - 24, 3);  // by the other order the second one would run
  EXPECT_THAT(found(), ElementsAre(0x10100, 0x10200));
  EXPECT_EQ(state_of(scan()[1]), TaskState::kWaiting);
}

TEST(ScanForWords, FindsEachOfThem) {
  HandBuiltMemory memory;
  const std::vector<uint64_t> values = {0x5000, 0x5008, 0x9000};
  for (uint64_t at = kHeap; at < kHeap + 0x1008; at += 8) memory.put(at, 0x5004);  // between two values
  memory.put(kHeap, 0x9000);
  memory.put(kHeap + 0x778, 0x5008);
  memory.put(kHeap + 0x1000, 0x5000);  // past the last whole block
  const std::vector<MemoryRange> ranges = {{kHeap, kHeap + 0x1008, true}};
  std::vector<std::pair<uint64_t, size_t>> found;
  for (const Hit& hit : scan_for_words(memory, ranges, values)) {
    EXPECT_TRUE(hit.on_stack);
    found.emplace_back(hit.address, hit.value);
  }
  EXPECT_THAT(found,
              ElementsAre(std::pair(kHeap, 2u), std::pair(kHeap + 0x778, 1u), std::pair(kHeap + 0x1000, 0u)));
  EXPECT_THAT(scan_for_words(memory, ranges, {}), IsEmpty());
}

TEST(ScanForWords, EndsAtTheLastOfAllAddresses) {
  HandBuiltMemory memory;
  const uint64_t end = UINT64_MAX - 7, last = end - 8;
  memory.put(last, 0x5000);
  const std::vector<MemoryRange> ranges = {{last, end, false}};
  const std::vector<uint64_t> values = {0x5000};
  const std::vector<Hit> found = scan_for_words(memory, ranges, values);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].address, last);
}

}  // namespace
}  // namespace asynctrace
