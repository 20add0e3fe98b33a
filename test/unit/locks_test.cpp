// Holders are named only where the guards found are exactly the permits that are missing.
#include <gtest/gtest.h>

#include "cli/census/locks.hpp"
#include "test/unit/hand_built_types.hpp"

namespace asynctrace {
namespace {

// Two tasks and mutexes: each task is a body that awaits Mutex::lock, which awaits an Acquire.
class LocksTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kFree = 2, kTaken = 0;  // of the permits' word, whose lowest bit says closed

  void SetUp() override {
    types.at(body).variants = {{3, {"3", suspended, 0}}};
    for (const uint64_t mutex : {kFirst, kSecond}) memory.put(mutex, kTaken);
  }

  // A task that keeps `guards` (0: bytes of none) and waits for `mutex`, of whose one permit `missing` are.
  void add_task(uint64_t id, std::vector<uint64_t> guards, uint64_t mutex, uint64_t missing = 1) {
    const uint64_t at = 0x10000 * id;
    memory.put(at, 3, 1);
    memory.put(at + 8, mutex);     // Acquire.semaphore
    memory.put(at + 16, missing);  // Acquire.node.state
    memory.put(at + 24, 1);        // Acquire.num_permits
    types.at(suspended).members.resize(1);
    for (size_t i = 0; i < guards.size(); ++i) {
      memory.put(at + 32 + 8 * i, guards[i]);
      types.at(suspended).members.push_back({"guard", guard, 32 + 8 * i});
    }
    FutureWalker fresh(types, memory);
    fresh.collect(guard_types());
    table.add_task(id, fresh.walk(body, at), fresh, types, memory);
  }

  LockTable::Answer answer(uint64_t task) {
    for (const LockWait& wait : table.waits())
      if (wait.task == task) return table.holder(wait);
    return {{}, "waits for none"};
  }

  static constexpr uint64_t kFirst = 0x1000, kSecond = 0x2000;
  HandBuiltTypes types;
  HandBuiltMemory memory;
  LockTable table;

  TypeId semaphore = types.add(
      {.name = "tokio::sync::batch_semaphore::Semaphore", .size = 8, .members = {{"permits", types.word}}});
  TypeId mutex =
      types.add({.name = "tokio::sync::mutex::Mutex<T>", .size = 8, .members = {{"s", semaphore}}});
  TypeId to_mutex = types.add({.name = "&Mutex", .size = 8, .is_pointer = true, .target = mutex});
  TypeId to_semaphore = types.add({.name = "&Semaphore", .size = 8, .is_pointer = true, .target = semaphore});
  TypeId guard =
      types.add({.name = "tokio::sync::mutex::MutexGuard<T>", .size = 8, .members = {{"lock", to_mutex}}});
  TypeId waiter = types.add({.name = "Waiter", .size = 8, .members = {{"state", types.word}}});
  TypeId acquire = types.add_future(
      {.name = "tokio::sync::batch_semaphore::Acquire",
       .size = 24,
       .members = {{"semaphore", to_semaphore, 0}, {"node", waiter, 8}, {"num_permits", types.word, 16}}});
  TypeId suspended = types.add({.name = "tokio::sync::mutex::Mutex::lock::{async_fn_env#0}::Suspend0",
                                .size = 64,
                                .members = {{"__awaitee", acquire, 8}}});
  TypeId body = types.add({.name = "tokio::sync::mutex::{impl#8}::lock::{async_fn_env#0}",
                           .size = 64,
                           .discriminant = {"__state", types.byte}});
};

TEST_F(LocksTest, NamesTheOnlyGuardsTask) {
  add_task(7, {kFirst}, kSecond);
  add_task(8, {kSecond}, kFirst);
  EXPECT_EQ(answer(7).task, 8u);
  EXPECT_EQ(answer(8).task, 7u);
}

TEST_F(LocksTest, ATaskMayLockItself) {
  add_task(7, {kFirst}, kFirst);
  EXPECT_EQ(answer(7).task, 7u);
}

TEST_F(LocksTest, OneOfTwoGuardsIsDead) {
  add_task(7, {kFirst}, kSecond);
  add_task(8, {kFirst}, kSecond);
  add_task(9, {kSecond}, kFirst);
  EXPECT_EQ(answer(9).task, std::nullopt);
  EXPECT_STREQ(answer(9).reason, "holder unsure: guards and missing permits do not agree");
  EXPECT_EQ(answer(7).task, 9u);
}

TEST_F(LocksTest, AFreeMutexHasNoHolder) {
  memory.put(kFirst, kFree);
  add_task(7, {kFirst}, kSecond);
  add_task(8, {}, kFirst);
  EXPECT_EQ(answer(8).task, std::nullopt);
}

TEST_F(LocksTest, APermitOnItsWayToAWaiterIsNotTheGuards) {
  add_task(7, {kFirst}, kSecond);
  add_task(8, {}, kFirst, 0);  // has its permit, and has not been polled since
  EXPECT_EQ(answer(8).task, std::nullopt);
}

TEST_F(LocksTest, WhoHoldsNothingThatIsSeen) {
  add_task(8, {}, kFirst);
  EXPECT_STREQ(answer(8).reason, "holder unknown: no waiting task keeps its guard");
}

}  // namespace
}  // namespace asynctrace
