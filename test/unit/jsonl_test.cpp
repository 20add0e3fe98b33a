#include "cli/render/jsonl.hpp"

#include <algorithm>
#include <set>
#include <sstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "test/unit/hand_built.hpp"

namespace asynctrace::testing {
namespace {

using nlohmann::json;

const JsonOptions kOptions{"after", "0.1.0"};

std::string jsonl(Program& program) {
  std::ostringstream out;
  render_jsonl(build_report(program.snapshot, program.symbols), kOptions, out);
  return out.str();
}

Program small_shop() {
  Program program = shop();
  std::erase_if(program.snapshot.tasks, [](const Task& task) { return task.id >= 102; });
  return program;
}

std::vector<json> lines_of(const std::string& text) {
  std::vector<json> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(json::parse(line));
  return lines;
}

// The document that the lines stand for; the index where an item has one is its place there.
json to_document(const std::vector<json>& lines) {
  json document = lines.at(0);
  for (const std::string kind : {"frame", "stack", "task", "group", "suspect"}) {
    json& list = document[kind + "s"] = json::array();
    for (const json& line : lines) {
      if (!line.contains(kind)) continue;
      if (line.contains("index")) {
        list[line["index"].get<size_t>()] = line[kind];
      } else {
        list.push_back(line[kind]);
      }
    }
  }
  return document;
}

TEST(Jsonl, IsTheGoldenLines) {
  Program program = small_shop();
  EXPECT_EQ(jsonl(program), golden("shop.jsonl"));
}

TEST(Jsonl, DoesNotDependOnTheOrderOfItsInput) {
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    Program program = small_shop();
    shuffle(program.snapshot, seed);
    EXPECT_EQ(jsonl(program), golden("shop.jsonl")) << "seed " << seed;
  }
}

TEST(Jsonl, SaysAllThatTheDocumentSays) {
  Program program = small_shop();
  program.snapshot.lost.leaves = 1;  // so that there is a diagnostic
  const std::string lines = jsonl(program);
  std::ostringstream document;
  render_json(build_report(program.snapshot, program.symbols), kOptions, document);
  EXPECT_EQ(to_document(lines_of(lines)), json::parse(document.str()));
}

TEST(Jsonl, EverythingStandsBeforeItsFirstUse) {
  Program program = small_shop();
  std::set<size_t> frames, stacks;
  const auto are_in = [](const json& indexes, const std::set<size_t>& known) {
    return std::all_of(indexes.begin(), indexes.end(),
                       [&](const json& index) { return known.contains(index.get<size_t>()); });
  };
  for (const json& line : lines_of(jsonl(program))) {
    if (line.contains("frame")) {
      EXPECT_TRUE(frames.insert(line["index"].get<size_t>()).second) << line;
    } else if (line.contains("stack")) {
      EXPECT_TRUE(are_in(line["stack"], frames)) << line;
      EXPECT_TRUE(stacks.insert(line["index"].get<size_t>()).second) << line;
    } else if (line.contains("task")) {
      for (const json& leaf : line["task"]["leaves"]) {
        EXPECT_TRUE(are_in(json::array({leaf["stack"]}), stacks)) << line;
      }
    } else if (line.contains("group")) {
      EXPECT_TRUE(are_in(line["group"]["stacks"], stacks)) << line;
    }
  }
  EXPECT_FALSE(stacks.empty());
}

TEST(Jsonl, TruncationShows) {
  Program program = small_shop();
  const std::string whole = jsonl(program);
  // Complete exactly if the last line is whole and is an end that counts the tasks before it.
  const auto is_complete = [](const std::string& text) {
    size_t tasks = 0;
    json last;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
      last = json::parse(line, nullptr, false);
      if (last.is_discarded()) return false;
      tasks += last.contains("task");
    }
    return last.is_object() && last.contains("end") && last["tasks"] == tasks;
  };
  EXPECT_TRUE(is_complete(whole));
  for (size_t size = 0; size < whole.size() - 1; size += 7) {
    EXPECT_FALSE(is_complete(whole.substr(0, size))) << size;
  }
}

TEST(Jsonl, AnEmptyProcessHasAHeaderAndAnEnd) {
  Program program;
  const std::vector<json> lines = lines_of(jsonl(program));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0]["schema"], "asynctrace.dump/1");
  EXPECT_EQ(lines[1], json({{"end", true}, {"tasks", 0}}));
}

}  // namespace
}  // namespace asynctrace::testing
