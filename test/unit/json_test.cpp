#include "cli/render/json.hpp"

#include <sstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "test/unit/hand_built.hpp"

namespace asynctrace::testing {
namespace {

std::string json(Program& program) {
  std::ostringstream out;
  render_json(build_report(program.snapshot, program.symbols), {"after", "0.1.0"}, out);
  return out.str();
}

Program small_shop() {
  Program program = shop();
  std::erase_if(program.snapshot.tasks, [](const Task& task) { return task.id >= 102; });
  return program;
}

TEST(Json, IsTheGoldenDocument) {
  Program program = small_shop();
  EXPECT_EQ(json(program), golden("shop.json"));
}

TEST(Json, DoesNotDependOnTheOrderOfItsInput) {
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    Program program = small_shop();
    shuffle(program.snapshot, seed);
    EXPECT_EQ(json(program), golden("shop.json")) << "seed " << seed;
  }
}

TEST(Json, UnknownIsNullWithItsReason) {
  Program program;
  program.snapshot.process.exe = "/opt/m";
  program.snapshot.agent_off_reason = "no room";
  program.snapshot.lost = {.leaves = 1, .tasks = 2, .stacks = 3, .threads = 4};
  Leaf lost;
  lost.waiting_ns = kSec;
  lost.confirmed = false;
  Leaf unnamed = leaf(program.stack({Frame{}}), 2 * kSec);
  program.task(1, {lost, unnamed}).runtime = RuntimeId::kUnknown;
  EXPECT_EQ(json(program), golden("unknown.json"));
}

TEST(Json, BytesOfTheTargetStayValidText) {
  Program program;
  program.snapshot.process.exe = "/opt/\xff\"\\\n";
  program.snapshot.process.cmdline = {"\033]0;x"};
  program.task(1, {leaf(program.stack({frame("m::\xc3(", "/b/\x01", 1)}), kSec)});
  const nlohmann::json document = nlohmann::json::parse(json(program));
  EXPECT_EQ(document["process"]["exe"], "/opt/\\xff\"\\\\\\x0a");
  EXPECT_EQ(document["process"]["cmdline"][0], "\\x1b]0;x");
  EXPECT_EQ(document["frames"][0]["function"], "m::\\xc3(");
  EXPECT_EQ(document["frames"][0]["file"], "/b/\\x01");
}

}  // namespace
}  // namespace asynctrace::testing
