// What has moved between two dumps.
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/diff/render.hpp"
#include "cli/render/json.hpp"
#include "cli/render/text.hpp"
#include "cli/tree/movement.hpp"
#include "test/unit/hand_built.hpp"

namespace asynctrace::testing {
namespace {

using ::testing::HasSubstr;

std::string as_json(Program& program) {
  std::ostringstream out;
  render_json(build_report(program.snapshot, program.symbols), {"request", "0.1.0"}, out);
  return out.str();
}

DiffInput input(Program& program, const std::string& name) {
  auto dump = parse_dump(as_json(program), name, 0, {});
  EXPECT_TRUE(dump) << dump.error().message;
  return {name, std::move(*dump)};
}

Program few() {
  Program program = shop();
  std::erase_if(program.snapshot.tasks, [](const Task& task) { return task.id >= 104; });
  return program;
}

// Thirty seconds later: one checkout is through, one was polled; two connections are gone, all others were
// polled; a task is stuck at a place of its own.
Program later() {
  Program program = few();
  program.snapshot.captured_realtime_ns += 30 * kSec;
  const uint32_t refund =
      program.stack({async_fn("shop::refund", "/home/dev/shop/src/cart.rs", 99, 3),
                     tokio_frame("tokio::sync::notify::Notified::poll_notified", "sync/notify.rs")});
  std::erase_if(program.snapshot.tasks,
                [](const Task& task) { return task.id == 7 || task.id == 101 || task.id == 3; });
  for (Task& task : program.snapshot.tasks) task.polls += task.id == 8 || task.id >= 100;
  program.task(200, {leaf(refund, 5 * kSec)});
  return program;
}

TEST(Diff, IsTheGoldenText) {
  Program before = few(), after = later();
  std::ostringstream out;
  render_diff(input(before, "a.json"), input(after, "b.json"), out);
  EXPECT_EQ(out.str(), golden("diff/shop.txt"));
}

TEST(Diff, IsTheGoldenJson) {
  Program before = few(), after = later();
  std::ostringstream out;
  render_diff_json(input(before, "a.json"), input(after, "b.json"), "0.1.0", out);
  EXPECT_EQ(out.str(), golden("diff/shop.json"));
}

TEST(Diff, TheDeadAreShownAsOfTheirEnd) {
  Program before = few(), after = later();
  after.snapshot.process.state = ProcessState::kKilled;
  after.snapshot.process.end_realtime_ns = before.snapshot.captured_realtime_ns + 20 * kSec;
  EXPECT_EQ(compare(input(before, "a").dump, input(after, "b").dump).between_ms, 20'000u);
  std::ostringstream out;
  render_diff(input(before, "a"), input(after, "b"), out);
  EXPECT_THAT(out.str(), HasSubstr("\nB  shop pid 42, killed at 2023-11-14T22:14:11.500Z   8 tasks\n"));
  after.snapshot.process.end_realtime_ns = 0;
  EXPECT_EQ(compare(input(before, "a").dump, input(after, "b").dump).between_ms, std::nullopt);
}

TEST(Diff, TasksOfAnotherProcessAreNotCompared) {
  Program before = few(), after = few();
  after.snapshot.process.pid = 43;
  const Diff diff = compare(input(before, "a").dump, input(after, "b").dump);
  EXPECT_FALSE(diff.same_process);
  EXPECT_EQ(diff.both.size(), 4u);
  for (const DiffTrace& trace : diff.both) EXPECT_TRUE(trace.unmoved.empty());
}

TEST(Diff, AnotherTaskAtTheSameIdHasNotStayed) {
  Program before = few(), after = few();
  after.snapshot.tasks[5].address += 0x100;
  size_t unmoved = 0;
  for (const DiffTrace& trace : compare(input(before, "a").dump, input(after, "b").dump).both)
    unmoved += trace.unmoved.size();
  EXPECT_EQ(unmoved, 8u);  // 4 connections, 3 checkouts, task 3 and 9, but for one of them
}

TEST(Diff, ATaskWhosePollsAreNotSeenIsNeverUnmoved) {
  Program before = few(), after = few();
  for (Program* program : {&before, &after})
    for (Task& task : program->snapshot.tasks) task.kind = TaskKind::kWaker;
  for (const DiffTrace& trace : compare(input(before, "a").dump, input(after, "b").dump).both)
    EXPECT_TRUE(trace.unmoved.empty());
}

TEST(DumpTraces, OneOfSeveralIsChosenByNumber) {
  Program first = few(), second = few();
  second.snapshot.process.pid = 43;
  const std::string both = as_json(first) + as_json(second);
  EXPECT_EQ(parse_dump(both, "f", 1, {})->pid, 42u);
  EXPECT_EQ(parse_dump(both, "f", 2, {})->pid, 43u);
  EXPECT_THAT(parse_dump(both, "f", 0, {}).error().message, HasSubstr("f: holds 2 dumps"));
  EXPECT_THAT(parse_dump(both, "f", 3, {}).error().message, HasSubstr("f: holds 2 dumps only"));
}

TEST(DumpTraces, AnythingElseIsAnError) {
  Program program = few();
  const nlohmann::json whole = nlohmann::json::parse(as_json(program));
  EXPECT_FALSE(parse_dump(as_json(program).substr(0, 5000), "f", 0, {}));
  EXPECT_FALSE(parse_dump("", "f", 0, {}));
  EXPECT_FALSE(parse_dump("{}", "f", 0, {}));
  EXPECT_FALSE(parse_dump("[[[[", "f", 0, {}));
  size_t broken_ones = 0;
  const nlohmann::json fields = whole.flatten();
  for (const auto& [pointer, value] : fields.items()) {
    nlohmann::json broken = whole;
    broken[nlohmann::json::json_pointer(pointer)] = {{"neither", "this"}};
    broken_ones += !parse_dump(broken.dump(), "f", 0, {});
    broken[nlohmann::json::json_pointer(pointer)] = int64_t{-1};
    parse_dump(broken.dump(), "f", 0, {});  // whatever it gives, it does not crash
  }
  EXPECT_GT(broken_ones, 100u);
}

TEST(DumpTraces, TextOfAFileCannotDriveTheTerminal) {
  Program program = few();
  nlohmann::json dump = nlohmann::json::parse(as_json(program));
  for (nlohmann::json& frame : dump["frames"]) frame["function"] = "\033[2J\\x1b";
  dump["process"]["exe"] = "/opt/\033]0;";
  DiffInput one{"a", *parse_dump(dump.dump(), "a", 0, {})};
  std::ostringstream out;
  render_diff(one, one, out);
  EXPECT_EQ(out.str().find('\033'), std::string::npos);
  EXPECT_THAT(out.str(), HasSubstr("╼ \\x1b[2J\\x1b at src/cart.rs:88:14"));
}

std::string text_after(Program& before, Program& after) {
  const EarlierDump earlier = remember(before.snapshot);
  ReportOptions options;
  options.earlier = &earlier;
  std::ostringstream out;
  render_text(build_report(after.snapshot, after.symbols, options), {}, out);
  return out.str();
}

TEST(Movement, IsShownWithTheDurations) {
  Program before = few(), after = later();
  const std::string text = text_after(before, after);
  EXPECT_THAT(text, HasSubstr("\n2 tasks  31.0s..31.1s, 1 of 2 not moved in 30.0s  (8, 12)\n"));
  EXPECT_THAT(text, HasSubstr("nothing can wake it (its waker was dropped)  31.0s, not moved in 30.0s\n"));
  EXPECT_THAT(text, HasSubstr("\ntask 200  5.0s\n"));
}

TEST(Movement, IsUnknownInAnotherProgramOfTheSamePid) {
  Program before = few(), after = later();
  after.snapshot.process.exe = "/opt/other";
  EXPECT_EQ(text_after(before, after).find("not moved"), std::string::npos);
}

TEST(Movement, StandsInTheJson) {
  Program before = few(), after = later();
  const EarlierDump earlier = remember(before.snapshot);
  ReportOptions options;
  options.earlier = &earlier;
  std::ostringstream out;
  render_json(build_report(after.snapshot, after.symbols, options), {"interval", "0.1.0"}, out);
  const nlohmann::json dump = nlohmann::json::parse(out.str());
  EXPECT_EQ(dump["since_earlier_ns"], 30 * kSec);
  EXPECT_EQ(dump["groups"][0]["unmoved"], 1);
  for (const nlohmann::json& task : dump["tasks"]) {
    const uint64_t id = task["id"];
    EXPECT_EQ(task["unmoved"], id != 8 && id < 100) << id;
  }
}

}  // namespace
}  // namespace asynctrace::testing
