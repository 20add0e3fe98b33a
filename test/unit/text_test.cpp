#include "cli/render/text.hpp"

#include <sstream>

#include <gtest/gtest.h>

#include "test/unit/hand_built.hpp"

namespace asynctrace::testing {
namespace {

std::string text(Program& program, const TextOptions& options = {}, const ReportOptions& report = {}) {
  std::ostringstream out;
  render_text(build_report(program.snapshot, program.symbols, report), options, out);
  return out.str();
}

TEST(Text, IsTheManualsExample) {
  Program program = shop();
  EXPECT_EQ(text(program), golden("shop.txt"));
}

TEST(Text, DoesNotDependOnTheOrderOfItsInput) {
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    Program program = shop();
    shuffle(program.snapshot, seed);
    EXPECT_EQ(text(program), golden("shop.txt")) << "seed " << seed;
  }
}

TEST(Text, FramesAllShowsTheRuntimeToo) {
  Program program = shop();
  std::erase_if(program.snapshot.tasks, [](const Task& task) { return task.id >= 100; });
  EXPECT_EQ(text(program, {}, {FrameView::kAll, {}}), golden("shop_frames_all.txt"));
}

TEST(Text, ColourAddsNothingButEscapeSequences) {
  Program program = shop();
  std::erase_if(program.snapshot.tasks, [](const Task& task) { return task.id >= 100; });
  std::string plain = text(program);
  std::string coloured = text(program, {.colour = true});
  EXPECT_NE(coloured.find("\033[31mSUSPECTS\033[0m"), std::string::npos);
  EXPECT_NE(coloured.find("\033[1masync fn shop::checkout\033[0m\033[2m at src/cart.rs:88:14\033[0m"),
            std::string::npos);
  for (const std::string sequence : {"\033[31m", "\033[1m", "\033[2m", "\033[0m"}) {
    for (size_t at; (at = coloured.find(sequence)) != std::string::npos;) coloured.erase(at, sequence.size());
  }
  EXPECT_EQ(coloured, plain);
}

Program many_traces(uint32_t traces) {
  Program program;
  program.snapshot.process.exe = "/opt/many";
  program.snapshot.process.state = ProcessState::kRunning;
  for (uint32_t i = 0; i < traces; ++i) {
    const uint32_t stack =
        program.stack({async_fn("many::f" + std::to_string(i), "/b/src/main.rs", i + 1, 5),
                       tokio_frame("tokio::sync::notify::Notified::poll_notified", "sync/notify.rs")});
    program.task(i + 1, {leaf(stack, (100 - i) * kSec)});
  }
  return program;
}

TEST(Text, TerminalShowsTwentyTracesAndCountsTheRest) {
  Program program = many_traces(25);
  const std::string terminal = text(program, {.terminal = true});
  EXPECT_NE(terminal.find("many::f19 "), std::string::npos);
  EXPECT_EQ(terminal.find("many::f20 "), std::string::npos);
  EXPECT_NE(terminal.find("\n... 5 traces of 5 tasks more; --all shows them\n"), std::string::npos);
  EXPECT_NE(text(program, {.all = true, .terminal = true}).find("many::f24 "), std::string::npos);
  EXPECT_NE(text(program).find("many::f24 "), std::string::npos);
}

TEST(Text, AllListsEveryTask) {
  Program program;
  const uint32_t stack = program.stack({async_fn("m::f", "/b/src/main.rs", 1, 5)});
  for (uint64_t id = 1; id <= 12; ++id) program.task(id, {leaf(stack, id * kSec)});
  EXPECT_NE(text(program).find("\n12 tasks  1s..12s, median 6s\n"), std::string::npos);
  EXPECT_NE(text(program, {.all = true}).find("median 6s  (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)\n"),
            std::string::npos);
}

TEST(Text, DeadProcessSaysAtLeast) {
  Program program;
  program.snapshot.process.exe = "/opt/m";
  program.snapshot.process.pid = 7;
  program.snapshot.process.state = ProcessState::kKilled;
  program.snapshot.durations_at_least = true;
  program.task(1, {leaf(program.stack({async_fn("m::f", "/b/src/main.rs", 1, 5)}), 2 * kSec)});
  EXPECT_EQ(text(program),
            "m pid 7, killed  tokio   1 task: 1 inside   read in 0 ms\n\n"
            "INSIDE  1 task, 1 trace\n"
            "task 1  at least 2.0s\n"
            "╼ async fn m::f at src/main.rs:1:5\n");
}

TEST(Text, NamesOfTheTargetCannotDriveTheTerminal) {
  Program program;
  program.snapshot.process.exe = "/opt/\033[2Jm";
  program.task(1, {leaf(program.stack({frame("m::\xe2\x80\xae"
                                             "f",
                                             "/b/src/a\nb.rs", 1)}),
                        kSec)});
  const std::string out = text(program);
  EXPECT_EQ(out.find('\033'), std::string::npos);
  EXPECT_NE(out.find("\\x1b[2Jm pid"), std::string::npos);
  EXPECT_NE(out.find("╼ m::\\xe2\\x80\\xaef at src/a\\x0ab.rs:1\n"), std::string::npos);
}

TEST(Text, EndsWithWhatLimitsIt) {
  Program program = shop();
  std::erase_if(program.snapshot.tasks, [](const Task&) { return true; });
  program.symbols.statuses[0] = {MissingReason::kNoDebugInfo, ""};
  program.snapshot.lost.leaves = 5;
  const std::string out = text(program);
  EXPECT_TRUE(
      out.ends_with("\nnote: /opt/shop/shop: no debug info: lines and inlined calls are unknown\n"
                    "      CARGO_PROFILE_RELEASE_DEBUG=1 cargo build --release\n"
                    "note: leaves not recorded, for lack of room: 5\n"
                    "      asynctrace run --max-size 2G\n"))
      << out;
}

TEST(Text, OfProgramsInCKnowsNoCargo) {
  Program program = shop();
  program.symbols.statuses[0] = {MissingReason::kNoDebugInfo, ""};
  EXPECT_NE(text(program).find("cargo build"), std::string::npos);
  for (Task& task : program.snapshot.tasks) task.runtime = RuntimeId::kNative;
  const std::string out = text(program);
  EXPECT_EQ(out.find("cargo build"), std::string::npos);
  EXPECT_NE(out.find("unknown\n      build with -g\n"), std::string::npos) << out;
}

}  // namespace
}  // namespace asynctrace::testing
