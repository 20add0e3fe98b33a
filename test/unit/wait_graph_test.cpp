#include "cli/tree/wait_graph.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace asynctrace {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Circle = std::vector<size_t>;

TEST(WaitGraph, TasksThatWaitForEachOtherNeverGoOn) {
  WaitGraph graph(4);
  graph.add_place(0, {1});
  graph.add_place(1, {0});
  graph.add_place(2, {1});  // held up by them
  graph.add_place(3, {3});  // by itself
  const WaitGraph::Verdict verdict = graph.judge();
  EXPECT_THAT(verdict.never_go_on, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(verdict.circles, ElementsAre(Circle{0, 1}, Circle{3}));
}

TEST(WaitGraph, AnotherWayOnFreesAllWhoWait) {
  WaitGraph graph(3);
  graph.add_place(0, {1});
  graph.add_place(0, {});  // a timer beside it
  graph.add_place(1, {0});
  graph.add_place(2, {1});
  const WaitGraph::Verdict verdict = graph.judge();
  EXPECT_THAT(verdict.never_go_on, IsEmpty());
  EXPECT_THAT(verdict.circles, IsEmpty());
}

TEST(WaitGraph, EveryPlaceMayBeHopelessForAnotherReason) {
  WaitGraph graph(4);
  graph.add_dead_end(3);
  graph.add_place(0, {1});
  graph.add_place(0, {3});
  graph.add_place(1, {0});
  graph.add_place(2, {0});
  const WaitGraph::Verdict verdict = graph.judge();
  EXPECT_THAT(verdict.never_go_on, ElementsAre(0, 1, 2));
  EXPECT_THAT(verdict.circles, ElementsAre(Circle{0, 1}));
}

TEST(WaitGraph, OneHopelessHolderOfManyIsEnough) {
  WaitGraph graph(4);
  graph.add_dead_end(1);
  graph.add_place(0, {1, 2});  // two readers keep a writer out, one of them goes on
  graph.add_place(2, {});
  graph.add_place(3, {2});
  EXPECT_THAT(graph.judge().never_go_on, ElementsAre(0));
}

TEST(WaitGraph, CirclesThatTouchAreToldApart) {
  WaitGraph graph(5);
  graph.add_place(0, {1});
  graph.add_place(1, {0});
  graph.add_place(2, {1});  // from the second circle into the first
  graph.add_place(2, {3});
  graph.add_place(3, {4});
  graph.add_place(4, {2});
  EXPECT_THAT(graph.judge().circles, ElementsAre(Circle{0, 1}, Circle{2, 3, 4}));
}

TEST(WaitGraph, LongChainsEndAtOnce) {
  constexpr size_t kTasks = 100'000;
  WaitGraph circle(kTasks), chain(kTasks);
  for (size_t task = 0; task < kTasks; ++task) circle.add_place(task, {(task + 1) % kTasks});
  for (size_t task = 0; task + 1 < kTasks; ++task) chain.add_place(task, {task + 1});
  chain.add_place(kTasks - 1, {});
  EXPECT_EQ(circle.judge().circles.at(0).size(), kTasks);
  EXPECT_THAT(chain.judge().never_go_on, IsEmpty());
}

}  // namespace
}  // namespace asynctrace
