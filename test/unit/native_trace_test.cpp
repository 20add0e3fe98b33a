// Traces of the native API, with the agent loaded: the cases of tokio's own tests of its task traces.
#include <asynctrace.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <stdexcept>

namespace asynctrace {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

#define NOINLINE extern "C" __attribute__((noinline, visibility("default")))

NOINLINE int hit_leaf() {
  const Poll poll = trace_leaf();
  asm volatile("");  // no tail call
  return poll == Poll::kPending ? 1 : 0;
}
NOINLINE int one() {
  const int pending = hit_leaf();
  asm volatile("");
  return pending;
}
NOINLINE int recurse(int depth) {
  const int pending = depth > 0 ? recurse(depth - 1) : one();
  asm volatile("");
  return pending;
}

std::vector<std::string> names(const Trace::Backtrace& backtrace) {
  std::vector<std::string> result;
  for (auto pc = backtrace.rbegin(); pc != backtrace.rend(); ++pc) result.push_back(symbol_name(*pc));
  return result;
}

std::string text(const Trace& trace) {
  std::ostringstream out;
  out << trace;
  return out.str();
}

TEST(NativeTrace, TheAgentIsThere) {
  ASSERT_NE(asynctrace_hooks, nullptr) << "run it with LD_PRELOAD, as `meson test` does";
}

TEST(NativeTrace, FramesStrictlyBetweenLeafAndRoot) {
  auto root = Trace::root([] { return recurse(2); });
  const auto [pending, trace] = Trace::capture([&] { return root(); });
  EXPECT_EQ(pending, 1);
  ASSERT_THAT(trace.backtraces(), SizeIs(1));
  EXPECT_THAT(names(trace.backtraces()[0]), ElementsAre("recurse", "recurse", "recurse", "one", "hit_leaf"));
}

TEST(NativeTrace, OutsideACaptureALeafIsReady) {
  EXPECT_FALSE(is_tracing());
  EXPECT_EQ(one(), 0);
  auto root = Trace::root(one);
  EXPECT_EQ(root(), 0);
}

TEST(NativeTrace, WithoutARootThereAreNoFrames) {
  const auto [pending, trace] = Trace::capture(one);
  EXPECT_EQ(pending, 1);
  EXPECT_THAT(trace.backtraces(), ElementsAre(IsEmpty()));
}

TEST(NativeTrace, EveryLeafIsRecorded) {
  auto root = Trace::root([] { return one() + recurse(0) + one(); });
  const auto captured = Trace::capture([&] { return root(); });
  EXPECT_EQ(captured.result, 3);
  EXPECT_THAT(captured.trace.backtraces(), SizeIs(3));
}

TEST(NativeTrace, NestedRootsStopAtTheInnermost) {
  auto inner = Trace::root(one);
  auto outer = Trace::root([&] { return inner() + recurse(0); });
  const auto captured = Trace::capture([&] { return outer(); });
  ASSERT_THAT(captured.trace.backtraces(), SizeIs(2));
  EXPECT_THAT(names(captured.trace.backtraces()[0]), ElementsAre("one", "hit_leaf"))
      << "one is called by inner";
  EXPECT_THAT(names(captured.trace.backtraces()[1]).back(), "hit_leaf");
  EXPECT_THAT(names(captured.trace.backtraces()[1]), testing::Contains("recurse"));
}

TEST(NativeTrace, NestedCapturesGivePartialTracesAndRestoreTheOuterOne) {
  auto root = Trace::root([] {
    const int before = one();
    const auto inner = Trace::capture([] { return one() + one(); });
    EXPECT_THAT(inner.trace.backtraces(), SizeIs(2));
    EXPECT_TRUE(is_tracing());
    return before + one();
  });
  const auto outer = Trace::capture([&] { return root(); });
  EXPECT_EQ(outer.result, 2);
  EXPECT_THAT(outer.trace.backtraces(), SizeIs(2));
  EXPECT_FALSE(is_tracing());
}

TEST(NativeTrace, ExceptionsRestoreRootsAndCollectors) {
  auto thrower = Trace::root([]() -> int { throw std::runtime_error("poll"); });
  auto root = Trace::root([&] {
    EXPECT_THROW(thrower(), std::runtime_error);
    EXPECT_THROW(Trace::capture([]() -> int { throw std::runtime_error("capture"); }), std::runtime_error);
    EXPECT_TRUE(is_tracing());
    return one();
  });
  const auto captured = Trace::capture([&] { return root(); });
  ASSERT_THAT(captured.trace.backtraces(), SizeIs(1));
  EXPECT_EQ(names(captured.trace.backtraces()[0]).back(), "hit_leaf");
  EXPECT_FALSE(is_tracing());
  EXPECT_EQ(Context::try_with_current([](const Context& context) { return context.active_frame(); }),
            nullptr);
}

TEST(NativeTrace, ACollectorIsNotCalledInsideItself) {
  int calls = 0;
  trace_with(one, [&](const TraceMeta& meta) {
    calls++;
    EXPECT_EQ(meta.root, nullptr);
    EXPECT_FALSE(is_tracing());
    EXPECT_EQ(one(), 0);
  });
  EXPECT_EQ(calls, 1);
}

TEST(NativeTrace, ACollectorMayThrow) {
  int calls = 0;
  trace_with(
      [] {
        EXPECT_THROW(one(), std::runtime_error);
        EXPECT_TRUE(is_tracing());
        EXPECT_THROW(recurse(3), std::runtime_error);
      },
      [&](const TraceMeta&) {
        calls++;
        throw std::runtime_error("collector");
      });
  EXPECT_EQ(calls, 2);
}

TEST(NativeTrace, ContextTellsTheActiveFrame) {
  auto root = Trace::root([] {
    return Context::try_with_current([](const Context& context) { return context.active_frame(); }).value();
  });
  EXPECT_NE(root(), nullptr);
}

TEST(NativeTrace, ItsTreeIsDrawnInsideTheProgram) {
  auto root = Trace::root([] { return one() + recurse(1); });
  const auto captured = Trace::capture([&] { return root(); });
  EXPECT_EQ(text(captured.trace),
            "╼ one\n"
            "  └╼ hit_leaf\n"
            "╼ recurse\n"
            "  └╼ recurse\n"
            "     └╼ one\n"
            "        └╼ hit_leaf\n");
}

std::string draw(std::initializer_list<std::vector<std::string>> traces) {
  Tree tree;
  for (const auto& trace : traces) tree.add(trace);
  std::ostringstream out;
  out << tree;
  return out.str();
}

TEST(NativeTree, Goldens) {
  EXPECT_EQ(draw({{"a", "a", "a", "b"}, {"a", "a", "b"}}),  // recursion
            "╼ a\n"
            "  └╼ a\n"
            "     ├╼ a\n"
            "     │  └╼ b\n"
            "     └╼ b\n");
  EXPECT_EQ(draw({{"a", "b", "d"}, {"a", "b", "c"}}),  // a common prefix
            "╼ a\n"
            "  └╼ b\n"
            "     ├╼ c\n"
            "     └╼ d\n");
  EXPECT_EQ(draw({{"b", "x"}, {"a", "x"}}),  // several roots
            "╼ a\n"
            "  └╼ x\n"
            "╼ b\n"
            "  └╼ x\n");
  EXPECT_EQ(draw({{"a", "app+0x12", "b"}}),  // an unnamed frame
            "╼ a\n"
            "  └╼ app+0x12\n"
            "     └╼ b\n");
  EXPECT_EQ(draw({{}}), "");
  EXPECT_EQ(draw({}), "");
}

}  // namespace
}  // namespace asynctrace
