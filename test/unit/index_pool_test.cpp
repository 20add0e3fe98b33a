// IndexPool over a real segment file: every number is held by one taker at a time, from any number of
// threads. Also built with ThreadSanitizer.
#include <gtest/gtest.h>

#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "agent/index_pool.hpp"

namespace asynctrace::agent {
namespace {

class IndexPoolTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = "/tmp/asynctrace-pool." + std::to_string(getpid());
    Config config;
    config.output = path_.c_str();
    config.max_size = 1;  // the least there is
    ASSERT_TRUE(writer_.create(config));
    ASSERT_TRUE(pool_.start(writer_, segment::kThreads));
  }
  void TearDown() override { unlink(path_.c_str()); }

  std::vector<uint32_t> take_all(IndexCache& cache) {
    std::vector<uint32_t> taken;
    for (uint32_t index = pool_.take(cache); index != kNone; index = pool_.take(cache))
      taken.push_back(index);
    return taken;
  }

  uint32_t capacity() const { return writer_.capacity(segment::kThreads); }

  std::string path_;
  SegmentWriter writer_;
  IndexPool pool_;
  IndexCache cache_{};
};

TEST_F(IndexPoolTest, GivesEachNumberOnceAndThenNone) {
  const std::vector<uint32_t> taken = take_all(cache_);
  EXPECT_EQ(taken.size(), capacity());
  const std::set<uint32_t> distinct(taken.begin(), taken.end());
  EXPECT_EQ(distinct.size(), taken.size());
  EXPECT_EQ(*distinct.begin(), 0u);
  EXPECT_EQ(*distinct.rbegin(), capacity() - 1);
  EXPECT_EQ(pool_.take(cache_), kNone);
  pool_.give(cache_, 5);
  EXPECT_EQ(pool_.take(cache_), 5u);
}

TEST_F(IndexPoolTest, StartsWithTheLowestAndReusesTheLast) {
  EXPECT_EQ(pool_.take(cache_), 0u);
  EXPECT_EQ(pool_.take(cache_), 1u);
  pool_.give(cache_, 0);
  EXPECT_EQ(pool_.take(cache_), 0u);
  EXPECT_EQ(pool_.take(cache_), 2u);
}

TEST_F(IndexPoolTest, WhatOneThreadGivesAnotherTakes) {
  const std::vector<uint32_t> taken = take_all(cache_);
  IndexCache other{};
  for (const uint32_t index : taken) pool_.give(other, index);
  EXPECT_LE(other.count, IndexCache::kCapacity);
  // All but what the other one keeps in stock.
  EXPECT_EQ(take_all(cache_).size(), taken.size() - other.count);
}

TEST_F(IndexPoolTest, WhatIsGivenWithoutACacheIsFoundAgain) {
  const std::vector<uint32_t> taken = take_all(cache_);
  for (const uint32_t index : taken) pool_.give_shared(index);
  const std::vector<uint32_t> again = take_all(cache_);
  EXPECT_EQ(std::set<uint32_t>(again.begin(), again.end()), std::set<uint32_t>(taken.begin(), taken.end()));
  EXPECT_EQ(again.size(), taken.size());
}

// Each thread marks what it holds; a mark that is there already is a number that was handed out twice. Part
// of what is taken is given back by the next thread, so that caches overflow and run dry.
TEST_F(IndexPoolTest, NoNumberIsHeldTwice) {
  constexpr int kThreads = 4;
  constexpr int kTakes = 20'000;
  constexpr size_t kMailbox = 8;  // all of them hold less than the section has
  const auto held = std::make_unique<std::atomic<bool>[]>(capacity());
  std::atomic<uint32_t> mailboxes[kThreads][kMailbox];
  for (auto& mailbox : mailboxes)
    for (auto& letter : mailbox) letter.store(kNone);
  std::atomic<int> twice{0};
  IndexCache caches[kThreads] = {};

  const auto work = [&](int self) {
    uint32_t random = static_cast<uint32_t>(self) + 1;
    const auto give = [&](uint32_t index) {
      held[index].store(false, std::memory_order_relaxed);
      if (random % 16 == 0) pool_.give_shared(index);
      else pool_.give(caches[self], index);
    };
    for (int taken = 0; taken < kTakes;) {
      random = random * 1664525 + 1013904223;
      const uint32_t index = pool_.take(caches[self]);
      if (index != kNone) {
        taken++;
        if (held[index].exchange(true, std::memory_order_relaxed)) twice++;
        auto& letter = mailboxes[(self + 1) % kThreads][random >> 8 & (kMailbox - 1)];
        const uint32_t unread = letter.exchange(index, std::memory_order_acq_rel);
        if (unread != kNone) give(unread);
      }
      const uint32_t mine =
          mailboxes[self][random >> 16 & (kMailbox - 1)].exchange(kNone, std::memory_order_acq_rel);
      if (mine != kNone) give(mine);
    }
    // Else the others might wait for ever for what lies here.
    IndexCache& cache = caches[self];
    for (; cache.count > 0; cache.count--) pool_.give_shared(cache.items[cache.count - 1]);
  };
  std::vector<std::thread> threads;
  for (int self = 0; self < kThreads; self++) threads.emplace_back(work, self);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(twice, 0);

  // Nothing was lost: what lies in mailboxes and what is left make up the whole section.
  std::set<uint32_t> all;
  for (const auto& mailbox : mailboxes)
    for (const auto& letter : mailbox)
      if (letter.load() != kNone) all.insert(letter.load());
  for (const uint32_t index : take_all(cache_)) all.insert(index);
  EXPECT_EQ(all.size(), capacity());
}

// Threads that find the section empty must not disturb those that do not.
TEST_F(IndexPoolTest, UnderWantNoNumberIsHeldTwice) {
  constexpr int kThreads = 4;
  const auto held = std::make_unique<std::atomic<bool>[]>(capacity());
  std::atomic<int> twice{0}, refused{0};
  const auto work = [&] {
    IndexCache cache{};
    for (int round = 0; round < 20; round++) {
      std::vector<uint32_t> mine;
      for (uint32_t i = 0; i < capacity() / 2; i++) {
        const uint32_t index = pool_.take(cache);
        if (index == kNone) {
          refused++;
          break;
        }
        if (held[index].exchange(true, std::memory_order_relaxed)) twice++;
        mine.push_back(index);
      }
      for (const uint32_t index : mine) {
        held[index].store(false, std::memory_order_relaxed);
        pool_.give(cache, index);
      }
    }
    for (; cache.count > 0; cache.count--) pool_.give_shared(cache.items[cache.count - 1]);
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; i++) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(twice, 0);
  EXPECT_EQ(take_all(cache_).size(), capacity());
}

}  // namespace
}  // namespace asynctrace::agent
