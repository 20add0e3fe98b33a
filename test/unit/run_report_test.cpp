// The reports of a run: markdown, JUnit and workflow commands.
#include "cli/render/run_report.hpp"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/render/github.hpp"
#include "cli/render/junit.hpp"
#include "cli/render/markdown.hpp"
#include "test/unit/hand_built.hpp"

namespace asynctrace::testing {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

RunReport stopped(std::vector<const Report*> processes) {
  return {"shop --port=80", "ran into the time-out of 32.0s", false, 32'000 * kMs, std::move(processes), ""};
}

Report report_of(Program& program) {
  return build_report(program.snapshot, program.symbols, {FrameView::kUser, {{}, "/home/dev/shop"}});
}

std::string markdown(const RunReport& run, size_t limit = SIZE_MAX) {
  std::ostringstream out;
  render_markdown(run, out, limit);
  return out.str();
}

std::string github(const RunReport& run) {
  std::ostringstream out;
  render_github(run, out);
  return out.str();
}

std::string junit(const RunReport& run) {
  std::ostringstream out;
  render_junit(run, out);
  return out.str();
}

// Everything in it tries to get out of its place.
Program hostile() {
  Program program;
  program.snapshot.process.exe = "/opt/sh|op`<b>";
  program.snapshot.process.pid = 7;
  program.task(
      1, {leaf(program.stack({async_fn("m::f<'a, [u8; 4]>::100%,x:y\n::error::", "/r/src/a,b:c%\n.rs", 3, 1),
                              frame("m::```\x1b]]>\xef\xbf\xbe::<script>", "/r/src/b.rs", 5)}),
               kSec)});
  return program;
}

size_t lines_that_begin(const std::string& text, const std::string& with) {
  std::istringstream in(text);
  size_t found = 0;
  for (std::string line; std::getline(in, line);) found += line.starts_with(with);
  return found;
}

TEST(Markdown, IsTheGoldenPage) {
  Program program = shop();
  const Report report = report_of(program);
  EXPECT_EQ(markdown(stopped({&report})), golden("shop.md"));
}

TEST(Junit, IsTheGoldenFile) {
  Program program = shop();
  const Report report = report_of(program);
  EXPECT_EQ(junit(stopped({&report})), golden("shop.junit.xml"));
}

TEST(Junit, OfAGoodRunHoldsOneTestThatPassed) {
  EXPECT_EQ(junit({"make -j2 'a b'", "ended with status 0", true, 1'234 * kMs, {}, ""}),
            golden("good.junit.xml"));
}

TEST(Github, IsTheGoldenLog) {
  Program program = shop();
  const Report report = report_of(program);
  EXPECT_EQ(github(stopped({&report})), golden("shop.github"));
}

TEST(RunReport, DoesNotDependOnTheOrderOfItsInput) {
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    Program program = shop();
    shuffle(program.snapshot, seed);
    const Report report = report_of(program);
    EXPECT_EQ(markdown(stopped({&report})), golden("shop.md")) << "seed " << seed;
    EXPECT_EQ(junit(stopped({&report})), golden("shop.junit.xml")) << "seed " << seed;
  }
}

TEST(RunReport, EqualFindingsOfSeveralProcessesAreOne) {
  Program first = shop(), second = shop();
  const Report a = report_of(first), b = report_of(second);
  EXPECT_EQ(lines_that_begin(github(stopped({&a, &b})), "::"), lines_that_begin(github(stopped({&a})), "::"));
  EXPECT_THAT(github(stopped({&a, &b})),
              HasSubstr("::6 tasks of 2 processes of shop: waiting for mpsc recv"));
}

TEST(RunReport, WhatWaitsOutsideIsListedWhereNothingElseIs) {
  Program program = shop();
  std::erase_if(program.snapshot.tasks, [](const Task& task) { return task.id < 100; });
  const Report report = report_of(program);
  EXPECT_THAT(github(stopped({&report})), HasSubstr("9,999 tasks of shop: waiting for TcpStream read"));
}

TEST(Github, TenOfEachKindAtMost) {
  Program program;
  program.snapshot.process.exe = "/opt/many";
  for (uint32_t i = 0; i < 30; ++i) {
    const uint32_t stack =
        program.stack({async_fn("many::f" + std::to_string(i), "/b/src/main.rs", i + 1, 5)});
    Task& task = program.task(i + 1, {leaf(stack, (100 - i) * kSec)});
    task.stuck = i % 2 == 0;
  }
  const Report report = report_of(program);
  const std::string log = github(stopped({&report}));
  EXPECT_EQ(lines_that_begin(log, "::error "), 10u);
  EXPECT_EQ(lines_that_begin(log, "::warning "), 10u);
  EXPECT_THAT(log, HasSubstr("many::f0 "));
  EXPECT_THAT(log, Not(HasSubstr("many::f28 ")));
}

TEST(Github, MessagesAreCutToWhatItShows) {
  Program program;
  std::vector<Frame> frames;
  for (uint32_t i = 0; i < 300; ++i)
    frames.push_back(async_fn("deep::f" + std::to_string(i), "/b/src/main.rs", i + 1, 5));
  program.task(1, {leaf(program.stack(std::move(frames)), kSec)});
  const Report report = report_of(program);
  const std::string log = github(stopped({&report}));
  EXPECT_LT(log.size(), 6000u);
  EXPECT_THAT(log, EndsWith("%0A...\n"));
}

TEST(Github, NamesOfTheTargetStayInTheirPlace) {
  Program program = hostile();
  const Report report = build_report(program.snapshot, program.symbols, {FrameView::kUser, {{}, "/r"}});
  const std::string log = github(stopped({&report}));
  EXPECT_EQ(lines_that_begin(log, ""), 2u) << log;
  EXPECT_THAT(log, HasSubstr("::warning file=src/b.rs,line=5,title=asynctrace%3A m%3A%3A```\\x1b"));
}

TEST(Markdown, NamesOfTheTargetStayInTheirPlace) {
  Program program = hostile();
  const Report report = report_of(program);
  const std::string page = markdown(stopped({&report}));
  EXPECT_THAT(page, Not(HasSubstr("<script>\n")));
  const std::string table = page.substr(0, page.find("<details"));
  EXPECT_EQ(std::count(table.begin(), table.end(), '|'), 6 * 3);
  EXPECT_THAT(table, Not(HasSubstr("<script")));
  EXPECT_THAT(page, HasSubstr("\n````text\n"));
  EXPECT_THAT(page, HasSubstr("\n````\n\n</details>\n"));
}

TEST(Junit, HoldsNoCharacterThatXmlForbids) {
  Program program = hostile();
  const Report report = report_of(program);
  EXPECT_THAT(junit(stopped({&report})), HasSubstr("\\x1b]]&gt;\\xef\\xbf\\xbe::&lt;script&gt;"));
}

TEST(Markdown, KeepsToItsLimit) {
  Program program;
  program.snapshot.process.exe = "/opt/many";
  for (uint32_t i = 0; i < 200; ++i) {
    const uint32_t stack =
        program.stack({async_fn("many::f" + std::to_string(i), "/b/src/main.rs", i + 1, 5)});
    program.task(i + 1, {leaf(stack, (1000 - i) * kSec)});
  }
  const Report report = report_of(program);
  const size_t whole = markdown(stopped({&report})).size();
  for (size_t limit : {size_t{0}, size_t{100}, size_t{3000}, whole / 2, whole - 1}) {
    const std::string page = markdown(stopped({&report}), limit);
    EXPECT_LE(page.size(), limit);
    if (limit < 3000) continue;
    EXPECT_THAT(page, EndsWith("... cut for lack of room\n```\n\n</details>\n"));
  }
  EXPECT_THAT(markdown(stopped({&report})), HasSubstr("\n150 findings more below.\n"));
}

}  // namespace
}  // namespace asynctrace::testing
