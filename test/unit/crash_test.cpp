// A crash in the report, the text and the JSON.
#include <csignal>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/render/json.hpp"
#include "cli/render/text.hpp"
#include "test/unit/hand_built.hpp"

namespace asynctrace::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

// Task 17 panics on a worker thread, whose loop is task 1.
Program crashed() {
  Program shop;
  Snapshot& snapshot = shop.snapshot;
  snapshot.process.pid = 42;
  snapshot.process.exe = "/opt/shop/shop";
  snapshot.process.state = ProcessState::kCrashed;
  snapshot.modules.push_back({"/opt/shop/shop", {0xab, 0x12}, 0, 0x1000, 0x9000});
  snapshot.modules.push_back({"/lib/x86_64-linux-gnu/libc.so.6", {}, 0, 0x10000, 0x20000});
  const auto poll_of = [&](const std::string& symbol, const std::string& future) {
    Frame frame = poll_function(future);
    frame.raw = symbol;
    return frame;
  };
  const Frame task_poll = poll_of("poll_report", "shop::report");
  const Frame loop_poll = poll_of("poll_worker",
                                  "tokio::runtime::blocking::task::BlockingTask<tokio::runtime::scheduler::"
                                  "multi_thread::worker::{impl#0}::launch::{closure_env#0}>");
  Frame raise = frame("raise");
  raise.module = 1;
  const std::string panicking =
      "/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/core/src/panicking.rs";
  const uint32_t native =
      shop.stack({frame("start_thread"), loop_poll, tokio_frame("tokio::Context::run", "worker.rs"),
                  task_poll, async_fn("shop::report", "/home/dev/shop/src/report.rs", 40, 9),
                  frame("shop::total", "/home/dev/shop/src/report.rs", 12, 5),
                  frame("core::panicking::panic", panicking, 60, 5), raise});
  // Between them stand the agent's frames, as return addresses: of the poll hook, and of another.
  snapshot.agent = {0x90000, 0x91000};
  snapshot.poll_hook = {0x90000, 0x90100};
  std::vector<uint64_t>& pcs = snapshot.stacks[native].pcs;
  pcs.insert(pcs.begin() + 7, 0x90100);
  pcs.insert(pcs.begin() + 5, 0x90100);
  pcs.insert(pcs.begin() + 3, 0x90101);
  Task& worker = shop.task(1);
  worker.poll_function = shop.symbols.add({loop_poll});
  worker.nests_polls = true;
  worker.state = TaskState::kRunning;
  Task& task = shop.task(17);
  task.poll_function = shop.symbols.add({task_poll});
  task.state = TaskState::kRunning;
  snapshot.threads.push_back({4250, "tokio-runtime-w", ThreadState::kPolling, 3 * kMs, 17, 1});
  snapshot.crash = {SIGABRT, 4250, 17, 3 * kMs, native, ""};
  return shop;
}

std::string text(Program& program, const ReportOptions& options = {}) {
  std::ostringstream out;
  render_text(build_report(program.snapshot, program.symbols, options), {}, out);
  return out.str();
}

json document(Program& program) {
  std::ostringstream out;
  render_json(build_report(program.snapshot, program.symbols), {"crash", "0.1.0"}, out);
  return json::parse(out.str());
}

TEST(CrashReport, StandsFirstWithTheTasksPartOfTheStack) {
  Program program = crashed();
  EXPECT_THAT(text(program),
              ::testing::StartsWith(
                  "shop pid 42, crashed  tokio, 1 worker: 1 polling   1 task: 1 running   read in 0 ms\n"
                  "\n"
                  "crashed: SIGABRT in task 17 on thread tid 4250 (in one poll for 3ms)\n"
                  "╼ async fn shop::report at src/report.rs:40:9\n"
                  "  └╼ shop::total at src/report.rs:12:5\n"
                  "     └╼ core::panicking::panic  [native stack]\n"));
  const std::string all = text(program, {FrameView::kAll, {}});
  EXPECT_THAT(all, HasSubstr("╼ tokio::runtime::task::raw::poll"));
  EXPECT_THAT(all, HasSubstr("└╼ raise\n"));
  EXPECT_THAT(all, Not(HasSubstr("tokio::Context::run")));
}

TEST(CrashReport, OutsideOfATaskHasTheWholeStack) {
  Program program = crashed();
  program.snapshot.crash->task = 1;
  EXPECT_THAT(text(program), HasSubstr("crashed: SIGABRT in no task, on worker thread tid 4250\n"));
  program.snapshot.crash->task.reset();
  EXPECT_THAT(text(program), HasSubstr("crashed: SIGABRT in no task, on thread tid 4250\n"));
  EXPECT_THAT(text(program, {FrameView::kAll, {}}), HasSubstr("╼ start_thread\n"));
}

TEST(CrashReport, WithoutAStackSaysWhyAndWhoWasPolling) {
  Program program = crashed();
  program.snapshot.crash = {SIGSEGV, {}, {}, 0, {}, "no core file was written"};
  const std::string lines = text(program);
  EXPECT_THAT(lines, HasSubstr("\ncrashed: SIGSEGV in an unknown thread; "
                               "polling then: task 17 on thread tid 4250 for 3ms\n"));
  EXPECT_THAT(lines, HasSubstr("note: the native stack of the crash is unknown: no core file was written\n"
                               "      asynctrace run --crash-stack "));
  program.snapshot.threads.clear();
  EXPECT_THAT(text(program), HasSubstr("in an unknown thread; none was polling a task\n"));
}

TEST(CrashReport, Json) {
  Program program = crashed();
  const json found = document(program);
  const json& crash = found["crash"];
  const json expected = {{"signal", "SIGABRT"},   {"signal_number", 6}, {"tid", 4250},      {"task", 17},
                         {"in_poll_ns", 3 * kMs}, {"stack", 0},         {"reason", nullptr}};
  EXPECT_EQ(crash, expected);
  std::vector<std::string> functions;
  for (const json& frame : found["stacks"][0])
    functions.push_back(found["frames"][frame.get<size_t>()]["function"]);
  EXPECT_THAT(functions, ::testing::ElementsAre("tokio::runtime::task::raw::poll", "async fn shop::report",
                                                "shop::total", "core::panicking::panic", "raise"));
  for (const json& task : found["tasks"])
    EXPECT_EQ(task["running_stack"], task["id"] == 17 ? json(0) : json(nullptr));

  program.snapshot.crash = {SIGSEGV, {}, {}, 0, {}, "no core file was written"};
  const json unseen = document(program)["crash"];
  EXPECT_EQ(unseen["reason"], "no core file was written");
  EXPECT_TRUE(unseen["tid"].is_null() && unseen["task"].is_null() && unseen["stack"].is_null());
}

}  // namespace
}  // namespace asynctrace::testing
