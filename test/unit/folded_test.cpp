#include "cli/render/folded.hpp"

#include <sstream>

#include <gtest/gtest.h>

#include "test/unit/hand_built.hpp"

namespace asynctrace::testing {
namespace {

std::string folded(Program& program, FrameView frames = FrameView::kUser) {
  std::ostringstream out;
  render_folded(build_report(program.snapshot, program.symbols, {frames, {}}), out);
  return out.str();
}

TEST(Folded, CountsTheTasksThatWaitAtEachStack) {
  Program program = shop();
  EXPECT_EQ(folded(program), golden("shop.folded"));
}

TEST(Folded, FramesAllHasTheRuntimeToo) {
  Program program = shop();
  EXPECT_EQ(folded(program, FrameView::kAll), golden("shop_frames_all.folded"));
}

TEST(Folded, DoesNotDependOnTheOrderOfItsInput) {
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    Program program = shop();
    shuffle(program.snapshot, seed);
    EXPECT_EQ(folded(program), golden("shop.folded")) << "seed " << seed;
  }
}

TEST(Folded, TwoLinesOfOneFunctionAreOneStack) {
  Program program;
  const Frame notified = tokio_frame("tokio::sync::notify::Notified::poll_notified", "sync/notify.rs");
  for (uint32_t line : {1u, 2u}) {
    const uint32_t stack = program.stack({async_fn("m::f", "/b/src/main.rs", line, 5), notified});
    program.task(line, {leaf(stack, line * kSec)});
  }
  EXPECT_EQ(folded(program), "async fn m::f;Notify 2\n");
}

TEST(Folded, ATaskCountsOnceAtEachOfItsStacks) {
  Program program;
  const Frame join = async_fn("m::join", "/b/src/main.rs", 1, 5);
  const Frame notified = tokio_frame("tokio::sync::notify::Notified::poll_notified", "sync/notify.rs");
  const uint32_t a = program.stack({join, async_fn("m::a", "/b/src/main.rs", 2, 5), notified});
  const uint32_t b = program.stack({join, async_fn("m::b", "/b/src/main.rs", 3, 5), notified});
  program.task(1, {leaf(a, kSec), leaf(a, 2 * kSec), leaf(b, kSec)});
  EXPECT_EQ(folded(program),
            "async fn m::join;async fn m::a;Notify 1\n"
            "async fn m::join;async fn m::b;Notify 1\n");
}

TEST(Folded, NamesCannotBreakTheFormat) {
  Program program;
  program.task(1, {leaf(program.stack({frame("m::f<[u8; 4]>\n0 1", "/b/src/main.rs", 1),
                                       frame("m::g\t\xff\\ 7", "/b/src/main.rs", 1)}),
                        kSec)});
  EXPECT_EQ(folded(program), "m::f<[u8\\x3b 4]>\\x0a0 1;m::g\\x09\\xff\\\\ 7 1\n");
}

}  // namespace
}  // namespace asynctrace::testing
