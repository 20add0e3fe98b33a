// The headers of the native API against agents of other versions, and against none.
#include <asynctrace.h>

#include <gtest/gtest.h>

namespace {

int g_calls = 0;

// What an agent of any version has; one that is newer has more behind it.
struct NewerHooks {
  struct asynctrace_hooks known;
  void (*later)();
};

struct asynctrace_hooks counting_hooks(uint64_t version) {
  struct asynctrace_hooks hooks {};
  hooks.version = version;
  hooks.task_woken = [](const void*) { g_calls++; };
  hooks.enter = [](asynctrace_frame* frame) { g_calls++, frame->parent = nullptr; };
  hooks.leave = [](asynctrace_frame*) { g_calls++; };
  hooks.leaf_armed = [](const char*, uint32_t, const void*) -> uint64_t { return 7; };
  hooks.trace_leaf = []() -> int { return 1; };
  return hooks;
}

class NativeHeader : public testing::Test {
 protected:
  void SetUp() override { g_calls = 0; }
  void TearDown() override { asynctrace_hooks = nullptr; }

  // What the header makes of the agent that is there now.
  static int calls() {
    int task = 0;
    asynctrace_frame frame;
    asynctrace_task_woken(&task);
    asynctrace_poll_begin(&frame, &task);
    asynctrace_poll_end(&frame);
    return g_calls;
  }
};

TEST_F(NativeHeader, WithoutAnAgentNothingHappens) {
  EXPECT_EQ(calls(), 0);
  EXPECT_EQ(asynctrace_leaf_armed("x", ASYNCTRACE_IO, nullptr), 0u);
  EXPECT_EQ(asynctrace_trace_leaf(), 0);
  EXPECT_EQ(asynctrace_is_tracing(), 0);
  EXPECT_EQ(asynctrace_active_frame(), nullptr);
}

TEST_F(NativeHeader, AgentOfTheSameVersion) {
  const struct asynctrace_hooks hooks = counting_hooks(1);
  asynctrace_hooks = &hooks;
  EXPECT_EQ(calls(), 3);
  EXPECT_EQ(asynctrace_leaf_armed("x", ASYNCTRACE_IO, nullptr), 7u);
  EXPECT_EQ(asynctrace_trace_leaf(), 1);
}

TEST_F(NativeHeader, NewerAgentHasWhatTheHeaderKnows) {
  const NewerHooks hooks{counting_hooks(99), nullptr};
  asynctrace_hooks = &hooks.known;
  EXPECT_EQ(calls(), 3);
}

TEST_F(NativeHeader, OlderAgentIsNotCalledForWhatItLacks) {
  const uint64_t older = 0;  // nothing behind it
  asynctrace_hooks = reinterpret_cast<const struct asynctrace_hooks*>(&older);
  EXPECT_EQ(calls(), 0);
  EXPECT_EQ(asynctrace_trace_leaf(), 0);
}

TEST_F(NativeHeader, AnAgentThatCannotAskForPollsIsNotTold) {
  const struct asynctrace_hooks first = counting_hooks(1);
  for (const struct asynctrace_hooks* hooks :
       {static_cast<const struct asynctrace_hooks*>(nullptr), &first}) {
    asynctrace_hooks = hooks;
    const asynctrace_repoll_result result{};
    asynctrace_repoll repoll;
    asynctrace_repoll_open(&repoll);
    EXPECT_EQ(repoll.fd, -1);
    EXPECT_EQ(asynctrace_repoll_due(&repoll), 0);
    asynctrace_repoll_begin(&repoll);
    asynctrace_repoll_leaf(&repoll, &result, nullptr, 0);
    asynctrace_repoll_end(&repoll, &result);
    asynctrace_repoll_close(&repoll);
  }
  EXPECT_EQ(g_calls, 0);
}

TEST_F(NativeHeader, AnAgentThatComesLateIsNotToldOfAnEndWithoutItsBegin) {
  int task = 0;
  asynctrace_frame frame;
  asynctrace_poll_begin(&frame, &task);
  const struct asynctrace_hooks hooks = counting_hooks(1);
  asynctrace_hooks = &hooks;
  asynctrace_poll_end(&frame);
  EXPECT_EQ(g_calls, 0);
}

}  // namespace
