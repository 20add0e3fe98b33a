// The future walker over types and memory written by hand: what it follows, what it says of the rest, and
// that memory which lies costs it nothing but a reason.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <cstring>
#include <map>

#include "cli/census/future_walker.hpp"
#include "test/unit/hand_built_types.hpp"

namespace asynctrace {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class FutureWalkerTest : public ::testing::Test {
 protected:
  // An async fn called `name` that awaits a `awaited` at line 7, its state at offset 0, the rest at 8.
  TypeId body(const std::string& name, TypeId awaited, std::vector<Member> kept = {}) {
    const TypeId empty = types.add({.name = name + "::Unresumed", .size = 16});
    kept.push_back({"__awaitee", awaited, 8});
    const TypeId suspended = types.add({.name = name + "::Suspend0", .size = 64, .members = kept});
    return types.add({.name = name,
                      .size = 64,
                      .variants = {{0, {"0", empty, 0, "a.rs", 1}}, {3, {"3", suspended, 0, "a.rs", 7}}},
                      .discriminant = {"__state", types.byte, 0}});
  }
  TypeId leaf(const std::string& name) { return types.add_future({.name = name, .size = 8}); }
  TypeId pointer(const std::string& name, TypeId target) {
    return types.add({.name = name, .size = 8, .is_pointer = true, .target = target});
  }

  HandBuiltTypes types;
  HandBuiltMemory memory;
  FutureWalker walker{types, memory};
};

TEST_F(FutureWalkerTest, FollowsTheAwaitThatIsActive) {
  const TypeId outer = body("outer::{async_fn_env#0}", body("inner::{async_fn_env#0}", leaf("Sleep")));
  memory.put(0x1000, 3, 1);
  memory.put(0x1008, 3, 1);
  const auto nodes = walker.walk(outer, 0x1000);
  ASSERT_EQ(nodes.size(), 1u);
  EXPECT_EQ(nodes[0].kind, FutureKind::kBody);
  EXPECT_EQ(nodes[0].state, BodyState::kSuspended);
  EXPECT_EQ(nodes[0].frame.line, 7u);
  EXPECT_EQ(nodes[0].frame.file, "a.rs");
  ASSERT_EQ(nodes[0].children.size(), 1u);
  ASSERT_EQ(nodes[0].children[0].children.size(), 1u);
  const FutureNode& sleep = nodes[0].children[0].children[0];
  EXPECT_EQ(sleep.frame.function, "<Sleep as core::future::future::Future>::poll");
  EXPECT_EQ(sleep.address, 0x1010u);
  EXPECT_FALSE(walker.incomplete());
}

TEST_F(FutureWalkerTest, TellsABodyThatHasNotBegun) {
  memory.put(0x1000, 0, 1);
  const auto nodes = walker.walk(body("outer::{async_fn_env#0}", leaf("Sleep")), 0x1000);
  ASSERT_EQ(nodes.size(), 1u);
  EXPECT_EQ(nodes[0].state, BodyState::kUnresumed);
  EXPECT_THAT(nodes[0].children, IsEmpty());
}

TEST_F(FutureWalkerTest, AStateThatNoVariantHasIsNoAwait) {
  memory.put(0x1000, 99, 1);
  const auto nodes = walker.walk(body("outer::{async_fn_env#0}", leaf("Sleep")), 0x1000);
  ASSERT_EQ(nodes.size(), 1u);
  EXPECT_EQ(nodes[0].state, BodyState::kUnknown);
  EXPECT_THAT(nodes[0].children, IsEmpty());
  EXPECT_TRUE(walker.incomplete());
}

TEST_F(FutureWalkerTest, LooksBehindVtables) {
  const std::string name =
      "alloc::boxed::Box<(dyn core::future::future::Future<Output=()>), alloc::alloc::Global>";
  const TypeId boxed = types.add(
      {.name = name, .size = 16, .members = {{"pointer", types.byte, 0}, {"vtable", types.byte, 8}}});
  types.vtables[0x9000] = leaf("Notified");
  memory.put(0x1000, 0x2000);
  memory.put(0x1008, 0x9000);
  const auto nodes = walker.walk(boxed, 0x1000);
  ASSERT_EQ(nodes.size(), 1u);
  EXPECT_EQ(nodes[0].address, 0x2000u);
  EXPECT_EQ(nodes[0].frame.function, "<Notified as core::future::future::Future>::poll");

  memory.put(0x1008, 0x9008);
  const auto unknown = walker.walk(boxed, 0x1000);
  ASSERT_EQ(unknown.size(), 1u);
  EXPECT_EQ(unknown[0].reason, "no type information behind its vtable");
  EXPECT_TRUE(walker.incomplete());
}

TEST_F(FutureWalkerTest, AHandWrittenFutureLeadsToItsOnlyInnerOne) {
  const TypeId sleep = leaf("Sleep");
  const TypeId one = types.add_future({.name = "One", .size = 8, .members = {{"inner", sleep, 0}}});
  const TypeId two =
      types.add_future({.name = "Two", .size = 16, .members = {{"a", sleep, 0}, {"b", sleep, 8}}});
  ASSERT_EQ(walker.walk(one, 0x1000).size(), 1u);
  EXPECT_EQ(walker.walk(one, 0x1000)[0].children.size(), 1u);
  const auto nodes = walker.walk(two, 0x1000);
  EXPECT_THAT(nodes[0].children, IsEmpty());
  EXPECT_EQ(nodes[0].reason, "it holds several futures: which of them it polls is not known");
}

TEST_F(FutureWalkerTest, BranchesOfSelectThatHaveEndedAreNoWaits) {
  const TypeId tuple =
      types.add({.name = "(A, B)", .size = 16, .members = {{"__0", leaf("A"), 0}, {"__1", leaf("B"), 8}}});
  const TypeId closure = types.add({.name = "f::{async_fn#0}::{closure_env#0}",
                                    .size = 16,
                                    .members = {{"_ref__disabled", pointer("&mut u8", types.byte), 0},
                                                {"_ref__futures", pointer("&mut (A, B)", tuple), 8}}});
  const TypeId select = types.add_future(
      {.name = "tokio::future::poll_fn::PollFn<C>", .size = 16, .members = {{"f", closure, 0}}});
  memory.put(0x1000, 0x3000);
  memory.put(0x1008, 0x2000);
  const auto names = [&] {
    std::vector<std::string> names;
    for (const FutureNode& node : walker.walk(select, 0x1000).at(0).children)
      names.push_back(types.type(node.type).name);
    return names;
  };
  memory.put(0x3000, 0, 1);
  EXPECT_THAT(names(), ElementsAre("A", "B"));
  memory.put(0x3000, 1, 1);
  EXPECT_THAT(names(), ElementsAre("B"));
  memory.put(0x3000, 3, 1);
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(FutureWalkerTest, EndsInMemoryThatLies) {
  // A box of itself, and a pointer to nowhere.
  const TypeId box = pointer("alloc::boxed::Box<Loop>", kNoType);
  const TypeId loop = types.add_future({.name = "Loop", .size = 8, .members = {{"next", box, 0}}});
  types.at(box).target = loop;
  memory.put(0x1000, 0x1000);
  const FutureNode again = walker.walk(loop, 0x1000).at(0);
  ASSERT_EQ(again.children.size(), 1u);
  EXPECT_EQ(again.children[0].reason, "it has been reached before");

  memory.put(0x1000, 0x4000);
  const FutureNode lost = walker.walk(loop, 0x1000).at(0);
  EXPECT_EQ(lost.children.at(0).children.at(0).reason, "its memory cannot be read");

  // An endless chain: each box leads eight bytes further.
  for (uint64_t at = 0x10000; at < 0x20000; at += 8) memory.put(at, at + 8);
  size_t depth = 0;
  const auto chain = walker.walk(loop, 0x10000);
  for (const auto* nodes = &chain; !nodes->empty(); nodes = &nodes->front().children) ++depth;
  EXPECT_LT(depth, 300u);
  EXPECT_TRUE(walker.incomplete());
}

}  // namespace
}  // namespace asynctrace
