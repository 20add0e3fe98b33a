// Traces of all tasks of a runtime, with the agent loaded: the cases of tokio's tests of its task dumps.
#include "test/targets/native/single_thread.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <climits>
#include <sstream>
#include <thread>

#include "test/unit/chain_of_tasks.hpp"

namespace native {

namespace {

using namespace std::chrono_literals;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;

TEST(NativeRuntime, EachTraceHoldsTheWholeChainAndTheLeaf) {
  SingleThread runtime;
  for (const char* name : {"1", "2", "3"}) runtime.spawn(a(), name);
  ASSERT_TRUE(runtime.turn());
  const auto traces = runtime.trace();
  ASSERT_THAT(traces, SizeIs(3));
  for (const auto& [id, address, source, trace] : traces) {
    ASSERT_THAT(trace.backtraces(), SizeIs(1)) << id;
    std::ostringstream text;
    text << trace;
    EXPECT_THAT(text.str(), StartsWith("╼ native::a()\n"
                                       "  └╼ native::b()\n"
                                       "     └╼ native::c()\n"
                                       "        └╼ native::Leaf::poll"));
  }
  EXPECT_EQ(runtime.deferred_wakes, 3u);
}

TEST(NativeRuntime, TasksThatWereNeverPolledAreTracedAndGoOn) {
  SingleThread runtime;
  runtime.spawn(a(), "new");
  const auto traces = runtime.trace();
  ASSERT_THAT(traces, SizeIs(1));
  EXPECT_THAT(traces[0].trace.backtraces(), SizeIs(1));
  EXPECT_TRUE(runtime.turn());
  EXPECT_EQ(runtime.trace().size(), 1u);
}

Task<> at_once(bool& done) {
  done = true;
  co_return;
}

TEST(NativeRuntime, ATaskMayEndDuringItsTrace) {
  SingleThread runtime;
  bool done = false;
  const Waker job = runtime.spawn(at_once(done), "short");
  const auto traces = runtime.trace();
  ASSERT_THAT(traces, SizeIs(1));
  EXPECT_THAT(traces[0].trace.backtraces(), IsEmpty());
  EXPECT_TRUE(done && job->ended());
  EXPECT_EQ(runtime.polls_after_end, 0u);
  EXPECT_FALSE(runtime.turn()) << "its deferred wake-up finds nothing to do";
}

Task<> receive(Channel<int>& channel, int& sum) {
  for (;;) {
    const int value = co_await channel.receive();
    if (value == 0) co_return;
    sum += value;
  }
}

TEST(NativeRuntime, NothingIsLostInManyDumps) {
  SingleThread runtime;
  Channel<int> channel;
  int sum = 0, sent = 0;
  runtime.spawn(receive(channel, sum), "receiver");
  constexpr int kDumps = 10'000;
  for (int i = 1; i <= kDumps; i++) {
    if (i % 3 == 0) channel.send(1), sent++;
    const size_t traces = runtime.trace().size();
    EXPECT_EQ(traces, 1u);
    if (i % 2 == 0) runtime.turn();
  }
  runtime.turn();
  EXPECT_EQ(sum, sent);
  EXPECT_EQ(runtime.deferred_wakes, size_t{kDumps});
  EXPECT_EQ(runtime.polls_after_end, 0u);
  channel.send(0);
  EXPECT_FALSE(runtime.turn());
}

// Woken by another thread.
class Signal : public Leaf {
 public:
  Signal(std::atomic<int>& count, int goal) : Leaf("signal", ASYNCTRACE_SIGNAL), count_(count), goal_(goal) {}
  void await_resume() const {}

 private:
  bool ready_or_arm(const Waker&) override { return count_ >= goal_; }
  std::atomic<int>& count_;
  int goal_;
};

Task<> wait_for_signals(std::atomic<int>& count, int goal) {
  co_await Signal(count, goal);
}

TEST(NativeRuntime, ATaskNotifiedFromOutsideDuringManyDumps) {
  SingleThread runtime;
  std::atomic<int> count{0};
  constexpr int kDumps = 10'000;
  const Waker waiter = runtime.spawn(wait_for_signals(count, INT_MAX), "waiter");
  runtime.turn();
  std::atomic<bool> over{false};
  std::thread outside([&] {
    while (!over) count++, runtime.wake(waiter);
  });
  for (int i = 0; i < kDumps; i++) EXPECT_LE(runtime.trace().size(), 1u);
  over = true;
  outside.join();
  count = INT_MAX;
  std::thread([&] { runtime.wake(waiter); }).join();
  EXPECT_FALSE(runtime.turn()) << "the last wake-up arrived";
}

Task<> read_one(int fd, char& byte) {
  byte = (co_await Read(fd)).value_or('?');
}
Task<> sleep_then(Channel<int>& channel) {
  co_await Sleep(1ms);
  channel.send(3);
  channel.send(0);
}

TEST(NativeRuntime, TimersSocketsAndChannelsWorkBetweenDumps) {
  SingleThread runtime;
  int pipes[2];
  ASSERT_EQ(pipe2(pipes, O_NONBLOCK), 0);
  char byte = 0;
  Channel<int> channel;
  int sum = 0;
  runtime.spawn(read_one(pipes[0], byte), "reader");
  runtime.spawn(receive(channel, sum), "receiver");
  runtime.spawn(sleep_then(channel), "sleeper");
  bool written = false;
  while (runtime.turn(1ms)) {
    runtime.trace();
    if (!std::exchange(written, true)) {
      EXPECT_EQ(write(pipes[1], "x", 1), 1);
    }
  }
  EXPECT_EQ(byte, 'x');
  EXPECT_EQ(sum, 3);
  close(pipes[0]);
  close(pipes[1]);
}

}  // namespace
}  // namespace native
