#include "cli/met_leaves.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace asynctrace {
namespace {

using testing::ElementsAre;

// Innermost first. The awaits are 0x10 and 0x11; the leaf tells at 0x1, called at 0x5, and is met at 0x2.
const std::vector<Stack> kStacks = {
    {{0x1, 0x5, 0x10, 0x11}}, {{0x2, 0x10, 0x11}}, {{0x2, 0x20, 0x11}}, {{0x1}}, {{0x2}}};
constexpr uint32_t kTold = 0, kMetHere = 1, kMetElsewhere = 2, kToldAlone = 3, kMetAlone = 4;

Leaf leaf_at(uint32_t stack, std::optional<uint32_t> label = {}) {
  Leaf leaf;
  leaf.stack = stack;
  leaf.label = label;
  return leaf;
}

// Of each leaf: stack, met, confirmed.
std::vector<std::tuple<uint32_t, bool, bool>> merged(std::vector<Leaf> told, std::vector<Leaf> met) {
  merge_met(std::move(met), told, kStacks);
  std::vector<std::tuple<uint32_t, bool, bool>> result;
  for (const Leaf& leaf : told) result.emplace_back(*leaf.stack, leaf.met, leaf.confirmed);
  return result;
}

TEST(MetLeaves, OneThatWasToldAndMetKeepsWhatItTold) {
  EXPECT_THAT(merged({leaf_at(kTold)}, {leaf_at(kMetHere)}), ElementsAre(std::tuple(kTold, true, true)));
  EXPECT_THAT(merged({leaf_at(kMetHere)}, {leaf_at(kTold)}), ElementsAre(std::tuple(kMetHere, true, true)));
}

TEST(MetLeaves, OneThatWasNotMetIsUnconfirmed) {
  EXPECT_THAT(merged({leaf_at(kTold)}, {leaf_at(kMetElsewhere)}),
              ElementsAre(std::tuple(kTold, false, false), std::tuple(kMetElsewhere, true, true)));
}

TEST(MetLeaves, NothingMetChangesNothing) {
  EXPECT_THAT(merged({leaf_at(kTold)}, {}), ElementsAre(std::tuple(kTold, false, true)));
}

TEST(MetLeaves, AsManyToldAsMetAreTheSame) {
  EXPECT_THAT(merged({leaf_at(kTold), leaf_at(kTold)}, {leaf_at(kMetHere), leaf_at(kMetHere)}),
              ElementsAre(std::tuple(kTold, true, true), std::tuple(kTold, true, true)));
}

TEST(MetLeaves, WhichOfTwoWasMetIsNotGuessed) {
  EXPECT_THAT(merged({leaf_at(kTold), leaf_at(kTold)}, {leaf_at(kMetHere)}),
              ElementsAre(std::tuple(kTold, false, false), std::tuple(kTold, false, false),
                          std::tuple(kMetHere, true, true)));
}

TEST(MetLeaves, WithoutAnAwaitNothingIsTheSame) {
  EXPECT_THAT(merged({leaf_at(kToldAlone)}, {leaf_at(kMetAlone)}),
              ElementsAre(std::tuple(kToldAlone, false, false), std::tuple(kMetAlone, true, true)));
  Leaf lost = leaf_at(0);
  lost.stack.reset();
  std::vector<Leaf> told = {lost};
  merge_met({leaf_at(kMetHere)}, told, kStacks);
  EXPECT_FALSE(told[0].confirmed);
}

}  // namespace
}  // namespace asynctrace
