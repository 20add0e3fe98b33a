// Tasks that are known by their wakers alone.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "test/unit/started_agent.hpp"

namespace asynctrace::agent {
namespace {

using segment::TaskKind;

constexpr uint64_t kData = 0x7f0000001000;
constexpr uint16_t kTable = 5;

class WakerTasksTest : public StartedAgent {
 protected:
  static uint64_t id_of(uint32_t task) { return task_entry(task).id.load(); }

  static uint32_t alive() {
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < g_segment.used(segment::kTasks); slot++) count += id_of(slot) != 0;
    return count;
  }
};

TEST_F(WakerTasksTest, LastsAsLongAsItHasALeaf) {
  const HookGuard guard(current_thread());
  const uint32_t task = waker_task(guard, kData, kTable, 1);
  ASSERT_NE(task, kNone);
  const uint64_t id = id_of(task);
  EXPECT_EQ(task_record(task).address, kData);
  EXPECT_EQ(task_record(task).kind_and_flags >> 4, static_cast<int>(TaskKind::kWaker));
  EXPECT_EQ(waker_task(guard, kData, kTable, 2), task);
  leave_task(guard, task, id);
  EXPECT_EQ(id_of(task), id);
  leave_task(guard, task, id);
  EXPECT_EQ(alive(), 0u);
  EXPECT_EQ(task_record(task).id, 0u);
}

TEST_F(WakerTasksTest, IsToldApartByDataAndTable) {
  const HookGuard guard(current_thread());
  const uint32_t tasks[] = {waker_task(guard, kData, kTable, 1), waker_task(guard, kData + 8, kTable, 1),
                            waker_task(guard, kData, kTable + 1, 1)};
  EXPECT_EQ(alive(), 3u);
  for (const uint32_t task : tasks) leave_task(guard, task, id_of(task));
  EXPECT_EQ(alive(), 0u);
}

TEST_F(WakerTasksTest, AWordThatIsNoAddressIsRefused) {
  const HookGuard guard(current_thread());
  EXPECT_EQ(waker_task(guard, uint64_t{1} << 48, kTable, 1), kNone);
  EXPECT_EQ(alive(), 0u);
}

TEST_F(WakerTasksTest, ANewPollBeginsOnceItWasWoken) {
  const HookGuard guard(current_thread());
  const uint32_t task = waker_task(guard, kData, kTable, 1);
  const uint64_t id = id_of(task);
  EXPECT_EQ(task_record(task).polls, 1u);
  waker_task(guard, kData, kTable, 2);
  EXPECT_EQ(task_record(task).polls, 1u);
  mark_woken(task, id);
  waker_task(guard, kData, kTable, 3);
  EXPECT_EQ(task_record(task).polls, 2u);
  for (int leaf = 0; leaf < 3; leaf++) leave_task(guard, task, id);
  EXPECT_EQ(alive(), 0u);
}

// A leaf begins on one thread while the last one ends on another.
TEST_F(WakerTasksTest, ThreadsNeverHoldATaskThatHasEnded) {
  constexpr int kRounds = 20'000;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++)
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; round++) {
        const uint64_t data = kData + 64 * (round % 3);
        const HookGuard guard(current_thread());
        const uint32_t task = waker_task(guard, data, kTable, 1);
        const uint64_t id = id_of(task);
        if (id == 0 || task_record(task).address != data) wrong++;
        if (id_of(task) != id) wrong++;
        leave_task(guard, task, id);
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(alive(), 0u);
}

}  // namespace
}  // namespace asynctrace::agent
