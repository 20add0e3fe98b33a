#include "cli/tree/tree.hpp"

#include <gtest/gtest.h>

#include "test/unit/hand_built.hpp"

namespace asynctrace::testing {
namespace {

// Draws traces of one-letter nodes: {"abc", 2} is c called by b called by a, twice.
std::string draw(const std::vector<std::pair<std::string, size_t>>& traces) {
  const std::string names = "abcdefghijklmnopqrstuvwxyz";
  std::vector<SymbolTrace> symbols;
  for (const auto& [trace, count] : traces) {
    std::vector<uint32_t> nodes;
    for (const char name : trace) nodes.push_back(static_cast<uint32_t>(name - 'a'));
    symbols.push_back(to_symboltrace(nodes, count));
  }
  std::string text;
  for (const Tree::Line& line : Tree::from_trace(symbols).display(
           [&](uint32_t node) { return std::string_view(names).substr(node, 1); })) {
    text += line.drawing + names[line.symbol.node] +
            (line.traces > 0 ? " " + std::to_string(line.traces) : "") + "\n";
  }
  return text;
}

TEST(Tree, DrawsOneTrace) {
  EXPECT_EQ(draw({{"abc", 1}}),
            "╼ a\n"
            "  └╼ b\n"
            "     └╼ c 1\n");
}

TEST(Tree, SharesWhatIsCommonFromTheRoot) {
  EXPECT_EQ(draw({{"abd", 1}, {"abe", 1}, {"acd", 1}}),
            "╼ a\n"
            "  ├╼ b\n"
            "  │  ├╼ d 1\n"
            "  │  └╼ e 1\n"
            "  └╼ c\n"
            "     └╼ d 1\n");
}

TEST(Tree, BranchesWithMoreTracesComeFirstThenByName) {
  EXPECT_EQ(draw({{"ab", 1}, {"ac", 3}, {"ae", 1}, {"ad", 1}}),
            "╼ a\n"
            "  ├╼ c 3\n"
            "  ├╼ b 1\n"
            "  ├╼ d 1\n"
            "  └╼ e 1\n");
}

TEST(Tree, RecursionAtDifferentDepthsStaysApart) {
  EXPECT_EQ(draw({{"aaab", 1}, {"aab", 1}}),
            "╼ a\n"
            "  └╼ a\n"
            "     ├╼ a\n"
            "     │  └╼ b 1\n"
            "     └╼ b 1\n");
}

TEST(Tree, SameNodeBelowDifferentParentsStaysApart) {
  const SymbolTrace one = to_symboltrace(std::vector<uint32_t>{1, 3});
  const SymbolTrace other = to_symboltrace(std::vector<uint32_t>{2, 3});
  EXPECT_NE(one.symbols[1], other.symbols[1]);
  EXPECT_EQ(one.symbols[1], to_symboltrace(std::vector<uint32_t>{1, 3}).symbols[1]);
}

TEST(Tree, SeveralRootsAndATraceThatEndsInsideAnother) {
  EXPECT_EQ(draw({{"b", 1}, {"a", 1}, {"ac", 1}}),
            "╼ a 1\n"
            "  └╼ c 1\n"
            "╼ b 1\n");
}

TEST(Tree, IgnoresTheOrderOfItsTraces) {
  EXPECT_EQ(draw({{"abd", 1}, {"ace", 2}, {"abf", 1}}), draw({{"abf", 1}, {"abd", 1}, {"ace", 2}}));
}

TEST(Tree, NoTracesNoLines) {
  EXPECT_EQ(draw({}), "");
}

TEST(ToFrames, AreOutermostFirstWithInlinedCallsExpanded) {
  HandWrittenFrames symbols;
  const uint64_t inner = symbols.add({frame("c"), frame("b")});  // c inlined into b
  const uint64_t outer = symbols.add({frame("a")});
  std::string order;
  for (const uint32_t index : to_frames(std::vector<uint64_t>{inner, outer}, symbols)) {
    order += symbols.frames()[index].function;
  }
  EXPECT_EQ(order, "abc");
}

}  // namespace
}  // namespace asynctrace::testing
