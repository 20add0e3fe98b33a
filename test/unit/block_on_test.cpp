// The search for the futures of block_on, over threads and types written by hand. That it finds them in real
// programs is shown by test/e2e/test_lock_holders.py and test_census.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/census/block_on.hpp"
#include "test/unit/hand_built_types.hpp"

namespace asynctrace {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr uint64_t kFuture = 0x9000, kPin = 0x8000;

class BlockOnTest : public ::testing::Test {
 protected:
  TypeId pin_of(TypeId target) {
    const TypeId pointer = types.add({.name = "&mut", .size = 8, .is_pointer = true, .target = target});
    return types.add({.name = "core::pin::Pin<&mut " + types.at(target).name + ">",
                      .size = 8,
                      .members = {{"pointer", pointer, 0}}});
  }
  // One frame for each list of functions, innermost first.
  NativeThread thread(std::vector<std::vector<StackedFunction>> functions) {
    NativeThread made;
    made.tid = 7;
    made.is_whole = true;
    for (auto& frame : functions) {
      const uint64_t pc = module.start + 0x10 * (made.pcs.size() + 1);
      made.pcs.push_back(pc + 1);
      made.registers.push_back({});
      types.frames[pc] = std::move(frame);
    }
    return made;
  }
  BlockOns find(const NativeThread& thread) {
    return find_block_ons(std::span(&thread, 1), module, types, memory);
  }

  Module module{"program", {}, 0, 0x1000, 0x2000};
  HandBuiltTypes types;
  HandBuiltMemory memory;
  TypeId future = types.add_future({.name = "Sleep", .size = 8});
  TypeId pin = pin_of(future);
  FunctionName block_on{"tokio::park::block_on", "", "block_on<Sleep>"};
  FunctionName poll{"<Sleep as core::future::future::Future>::poll", "", "poll"};
  FunctionName other{"main", "", "main"};
  StackedFunction outer{&block_on, true, {future}, {}};
  StackedFunction inner{&block_on, true, {future}, Found{pin, kPin}};

  void SetUp() override {
    memory.put(kPin, kFuture);
    memory.put(kFuture, 0);
  }
};

TEST_F(BlockOnTest, FindsWhatTheInnermostHasPinned) {
  const BlockOns found = find(thread({{{&other}}, {inner}, {outer, {&other}}}));
  ASSERT_THAT(found.found, SizeIs(1));
  EXPECT_EQ(found.found[0].tid, 7);
  EXPECT_EQ(found.found[0].future, (Found{future, kFuture}));
  EXPECT_FALSE(found.found[0].is_running);
  EXPECT_EQ(found.unsure, nullptr);
}

TEST_F(BlockOnTest, APinHandedInwardsIsTheSameFuture) {
  const TypeId pin_of_pin = pin_of(pin);
  memory.put(0x7000, kPin);
  const StackedFunction handed{&block_on, true, {pin}, Found{pin_of_pin, 0x7000}};
  const StackedFunction without{&block_on, true, {pin}, {}};
  const BlockOns found = find(thread({{handed}, {without}, {inner}}));
  EXPECT_THAT(found.found, SizeIs(1));
  EXPECT_EQ(found.unsure, nullptr);
}

TEST_F(BlockOnTest, AThreadInAPollOfItRuns) {
  const BlockOns found = find(thread({{{&poll}}, {inner}}));
  ASSERT_THAT(found.found, SizeIs(1));
  EXPECT_TRUE(found.found[0].is_running);
  // Further out it is the poll of something else.
  EXPECT_FALSE(find(thread({{inner}, {{&poll}}})).found.at(0).is_running);
}

TEST_F(BlockOnTest, SaysWhatItCannotLookInto) {
  EXPECT_THAT(find(NativeThread()).unsure, HasSubstr("a thread that is running"));
  NativeThread cut = thread({{{&other}}});
  cut.is_whole = false;
  EXPECT_THAT(find(cut).unsure, HasSubstr("a thread whose stack cannot be walked"));
  const BlockOns lost = find(thread({{outer}}));
  EXPECT_THAT(lost.found, IsEmpty());
  EXPECT_THAT(lost.unsure, HasSubstr("that was not found"));
  StackedFunction unreadable = inner;
  unreadable.pinned->address = 0xbad;
  EXPECT_THAT(find(thread({{unreadable}})).unsure, HasSubstr("that was not found"));
}

TEST_F(BlockOnTest, AnotherFutureFoundIsNoExcuse) {
  const TypeId unrelated = types.add_future({.name = "Notified", .size = 8});
  const StackedFunction lost{&block_on, true, {unrelated}, {}};
  const BlockOns found = find(thread({{inner}, {lost}}));
  EXPECT_THAT(found.found, SizeIs(1));
  EXPECT_THAT(found.unsure, HasSubstr("that was not found"));
}

}  // namespace
}  // namespace asynctrace
