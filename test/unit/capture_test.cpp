// capture() against glibc's backtrace(), which shares nothing with it: along random paths through functions
// of many frame shapes, most of them of equal size, so that paths differ only in what lies in the middle.
// Each path is captured when it is new and when it is known.
#include <gtest/gtest.h>

#include <alloca.h>
#include <execinfo.h>
#include <setjmp.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "agent/capture/cfi.hpp"
#include "test/unit/started_agent.hpp"

// void by_expression(const Path& path, void (*function)(const Path&)): calls it from a frame whose size only
// a DWARF expression tells.
asm(R"(
        .text
        .type by_expression, @function
by_expression:
        .cfi_startproc
        subq    $8, %rsp
        .cfi_escape 0x0f, 0x02, 0x77, 0x10
        call    *%rsi
        addq    $8, %rsp
        .cfi_def_cfa 7, 8
        ret
        .cfi_endproc
        .size by_expression, . - by_expression
)");

namespace asynctrace::agent {
namespace {

#define NOINLINE __attribute__((noinline))

// What a path leaves behind: the agent's stack and glibc's, both from below the root outwards.
struct Capture {
  const StackEntry* stack = nullptr;
  std::vector<uint64_t> expected;  // without the leaf's own address, on to the start of the thread
};

struct Path {
  const uint8_t* steps;
  size_t length;
  Capture* out;
};

NOINLINE const StackEntry* clone_hook() {
  const LeafSite site = LeafSite::of_hook(__builtin_frame_address(0));
  const HookGuard guard(current_thread());
  return capture(guard, site);
}

NOINLINE void leaf(Capture& out) {
  out.stack = clone_hook();
  void* pcs[1024];
  const int count = backtrace(pcs, 1024);
  out.expected.clear();
  for (int i = 1; i < count; i++) out.expected.push_back(reinterpret_cast<uint64_t>(pcs[i]));
}

void step(const Path& path);
extern "C" void by_expression(const Path& path, void (*function)(const Path&));

// The compiler can neither leave it out nor turn the call before it into a jump.
inline void keep(const void* value) {
  asm volatile("" : : "r"(value) : "memory");
}

// Frames of one size: only their return addresses tell them apart.
template <int kKind>
NOINLINE void same_size(const Path& path) {
  int mark = kKind;
  keep(&mark);
  step(path);
  keep(&mark);
}
template <int kSize>
NOINLINE void large(const Path& path) {
  char room[kSize];
  keep(room);
  step(path);
  keep(room);
}
NOINLINE void two_calls(const Path& path) {
  if (path.length % 2 == 0) {
    step(path);
    keep(&path);
  } else {
    step(path);
    keep(nullptr);
  }
}
NOINLINE void dynamic(const Path& path) {
  void* room = alloca(16 + path.length % 3 * 64);
  keep(room);
  step(path);
  keep(room);
}
NOINLINE void realigned(const Path& path) {
  alignas(128) char room[128];
  keep(room);
  step(path);
  keep(room);
}

NOINLINE void unverifiable(const Path& path) {
  by_expression(path, &step);
  keep(&path);
}

constexpr int kVerifiableShapes = 8;
void (*const kShapes[])(const Path&) = {same_size<0>, same_size<1>, same_size<2>, large<100>,  large<1000>,
                                        two_calls,    dynamic,      realigned,    unverifiable};

NOINLINE void step(const Path& path) {
  if (path.length == 0) leaf(*path.out);
  else kShapes[path.steps[0]]({path.steps + 1, path.length - 1, path.out});
  keep(&path);
}

// As the poll hook does it.
NOINLINE void below_root(const Path& path) {
  ThreadContext& context = *current_thread();
  Frame frame{};
  frame.parent = context.frame;
  frame.root = reinterpret_cast<uintptr_t>(&frame);
  context.frame = &frame;
  step(path);
  context.frame = frame.parent;
}

class CaptureTest : public StartedAgent {
 protected:
  static Capture follow(const std::vector<uint8_t>& steps, bool root = true) {
    Capture out;
    const Path path{steps.data(), steps.size(), &out};
    root ? below_root(path) : step(path);
    return out;
  }
};

uint32_t next(uint32_t& random) {
  return random = random * 1664525 + 1013904223, random >> 10;
}

std::vector<uint8_t> random_path(uint32_t& random, uint32_t longest, uint32_t shapes) {
  std::vector<uint8_t> steps(next(random) % longest);
  for (uint8_t& shape : steps) shape = static_cast<uint8_t>(next(random) % shapes);
  return steps;
}

std::vector<uint64_t> pcs_of(const StackEntry& stack) {
  return {stack.pcs, stack.pcs + stack.count};
}

// The captured stack is what backtrace() found, up to where the root function is about to return to.
testing::AssertionResult matches(const Capture& capture) {
  if (capture.stack == nullptr) return testing::AssertionFailure() << "no stack";
  const std::vector<uint64_t> pcs = pcs_of(*capture.stack);
  if (capture.stack->flags != 0) return testing::AssertionFailure() << "flags " << capture.stack->flags;
  if (pcs.empty() || pcs.size() > capture.expected.size())
    return testing::AssertionFailure() << pcs.size() << " pcs";
  if (!std::equal(pcs.begin() + 1, pcs.end(), capture.expected.begin()))
    return testing::AssertionFailure() << "other addresses";
  FunctionRange leaf_range{}, root_range{};
  const auto entry = [](auto* function) { return reinterpret_cast<uint64_t>(function); };
  find_function(main_module(), entry(&leaf), leaf_range);
  find_function(main_module(), entry(&below_root), root_range);
  if (pcs[0] <= leaf_range.start || pcs[0] > leaf_range.end)
    return testing::AssertionFailure() << "not from the leaf";
  const uint64_t outside = capture.expected[pcs.size() - 1];
  if (outside <= root_range.start || outside > root_range.end)
    return testing::AssertionFailure() << "does not end below the root";
  return testing::AssertionSuccess();
}

TEST_F(CaptureTest, RandomPathsNewAndKnown) {
  uint32_t random = 1;
  std::map<std::vector<uint64_t>, const StackEntry*> known;
  for (int round = 0; round < 3000; round++) {
    const std::vector<uint8_t> steps = random_path(random, 40, std::size(kShapes));
    const Capture first = follow(steps);
    ASSERT_TRUE(matches(first)) << round;
    const Capture second = follow(steps);
    ASSERT_TRUE(matches(second)) << round;
    ASSERT_EQ(first.stack, second.stack);
    const auto [entry, is_new] = known.emplace(pcs_of(*first.stack), first.stack);
    ASSERT_EQ(entry->second, first.stack) << "one stack, two entries";
  }
  EXPECT_GT(known.size(), 2000u);
}

TEST_F(CaptureTest, EveryPathOfSixEqualFrames) {
  uint64_t walks = 0;
  for (int again = 0; again < 2; again++) {
    const uint64_t before = lost(segment::kUnmemoizedWalks);
    for (uint32_t number = 0; number < 729; number++) {
      std::vector<uint8_t> steps;
      for (uint32_t n = number, i = 0; i < 6; i++, n /= 3) steps.push_back(static_cast<uint8_t>(n % 3));
      ASSERT_TRUE(matches(follow(steps))) << number;
    }
    walks += lost(segment::kUnmemoizedWalks) - before;
  }
  EXPECT_EQ(walks, 0u) << "frames at fixed distances are known the second time";
}

TEST_F(CaptureTest, FramesThatCannotBeVerifiedAreWalkedEachTime) {
  const uint64_t before = lost(segment::kUnmemoizedWalks);
  for (int i = 0; i < 3; i++) ASSERT_TRUE(matches(follow({0, kVerifiableShapes, 1})));
  EXPECT_EQ(lost(segment::kUnmemoizedWalks), before + 3);
}

TEST_F(CaptureTest, FramesOfVaryingSizeAreKnownTheSecondTime) {
  const uint64_t before = lost(segment::kUnmemoizedWalks);
  for (int i = 0; i < 3; i++) ASSERT_TRUE(matches(follow({0, 6, 1, 7, 6})));
  EXPECT_EQ(lost(segment::kUnmemoizedWalks), before);
}

TEST_F(CaptureTest, WithoutARootItReachesTheStartOfTheThread) {
  uint32_t random = 2;
  for (int round = 0; round < 50; round++) {
    const std::vector<uint8_t> steps = random_path(random, 10, kVerifiableShapes);
    for (int again = 0; again < 2; again++) {
      const Capture found = follow(steps, false);
      ASSERT_NE(found.stack, nullptr);
      EXPECT_EQ(found.stack->flags, segment::kNoRoot);
      const std::vector<uint64_t> pcs = pcs_of(*found.stack);
      ASSERT_EQ(std::vector(pcs.begin() + 1, pcs.end()), found.expected);
    }
  }
}

TEST_F(CaptureTest, MoreFramesThanAStackHolds) {
  const std::vector<uint8_t> steps(400, 0);  // two frames a step
  const Capture found = follow(steps);
  ASSERT_NE(found.stack, nullptr);
  EXPECT_EQ(found.stack->flags, segment::kTruncated);
  ASSERT_EQ(found.stack->count, segment::kMaxFrames);
  EXPECT_TRUE(
      std::equal(found.stack->pcs + 1, found.stack->pcs + segment::kMaxFrames, found.expected.begin()));
}

TEST_F(CaptureTest, NestedRootsBoundTheInnerStack) {
  Capture out;
  const std::vector<uint8_t> steps = {0, 1};
  const Path inner{steps.data(), steps.size(), &out};
  Frame outer{};
  ThreadContext& context = *current_thread();
  outer.root = reinterpret_cast<uintptr_t>(&outer);
  context.frame = &outer;
  below_root(inner);
  ASSERT_EQ(context.frame, &outer);
  context.frame = nullptr;
  EXPECT_TRUE(matches(out));
}

NOINLINE void jump_out(jmp_buf& target) {
  ThreadContext& context = *current_thread();
  context.frames[0] = {};
  context.frames[0].root = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  context.frames[0].task = kNone;
  context.frame = &context.frames[0];
  longjmp(target, 1);
}

NOINLINE void jump_out_and_back() {
  jmp_buf target;
  if (setjmp(target) == 0) jump_out(target);
}

TEST_F(CaptureTest, ALongjmpLeavesNoRootBehind) {
  jump_out_and_back();
  ThreadContext& context = *t_context;
  ASSERT_NE(context.frame, nullptr);
  drop_dead_frames(HookGuard(&context), reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) - 64);
  EXPECT_EQ(context.frame, nullptr);
}

TEST_F(CaptureTest, ManyThreadsAgreeOnEachStack) {
  constexpr int kThreads = 4;
  std::mutex mutex;
  std::map<std::vector<uint64_t>, const StackEntry*> known;
  std::atomic<int> wrong{0};
  const auto work = [&] {
    uint32_t random = 3;  // the same paths for all, at the same time
    for (int round = 0; round < 500; round++) {
      const Capture found = follow(random_path(random, 12, kVerifiableShapes));
      if (!matches(found)) {
        wrong++;
        continue;
      }
      const std::lock_guard lock(mutex);
      if (known.emplace(pcs_of(*found.stack), found.stack).first->second != found.stack) wrong++;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; i++) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(lost(segment::kUnwindFailed), 0u);
  EXPECT_EQ(lost(segment::kLostStacks), 0u);
}

}  // namespace
}  // namespace asynctrace::agent
