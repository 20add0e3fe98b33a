// What an operation of Asio's calls, read from memory that is written by hand.
#include <gtest/gtest.h>

#include "cli/coroutines/asio_handlers.hpp"
#include "test/unit/hand_built_types.hpp"

namespace asynctrace {
namespace {

constexpr uint64_t kOperation = 0x1000, kEnd = 0x1060, kObject = 0x2000;
constexpr uint64_t kComplete = 0x5000, kCallback = 0x5100, kOther = 0x5200, kManager = 0x5300,
                   kInvoker = 0x5400;
constexpr char kMember[] =
    "std::_Bind<void (shop::Desk<int>::*(shop::Desk<int>*, std::_Placeholder<1>))(int)>";

class AsioHandlersTest : public ::testing::Test {
 protected:
  AsioHandlersTest() {
    for (uint64_t at = kOperation; at < kEnd; at += 8) memory_.put(at, 0);
    memory_.put(kOperation + 8, kComplete);
  }
  AsioHandler read(const std::string& type) {
    return read_handler(memory_, kOperation, kEnd, type, [&](uint64_t address) -> std::string {
      switch (address) {
        case kComplete: return "asio::detail::wait_handler<X>::do_complete(void*)";
        case kCallback: return "shop::Desk<int>::pay(int)";
        case kOther: return "shop::Desk<int>_of::pay(int)";
        case kManager:
          return "std::_Function_handler<void (int), " + erased_ + ">::_M_manager(std::_Any_data&)";
        case kInvoker:
          return "std::_Function_handler<void (int), " + erased_ + ">::_M_invoke(std::_Any_data const&)";
        default: return {};
      }
    });
  }
  // {what is called or a pointer to it, a second word, what copies it, what calls it}
  void put_function(uint64_t address, uint64_t called) {
    memory_.put(address, called);
    memory_.put(address + 16, kManager);
    memory_.put(address + 24, kInvoker);
  }

  HandBuiltMemory memory_;
  std::string erased_;
};

TEST_F(AsioHandlersTest, BoundMember) {
  memory_.put(kOperation + 0x28, kOther);
  EXPECT_EQ(read(kMember), (AsioHandler{kMember}));
  memory_.put(kOperation + 0x30, kCallback);
  EXPECT_EQ(read(kMember), (AsioHandler{kMember, kCallback}));
  memory_.put(kOperation + 0x38, uint64_t{1} << 40);  // no adjustment of `this`
  EXPECT_EQ(read(kMember), (AsioHandler{kMember}));
}

TEST_F(AsioHandlersTest, BoundByBoost) {
  const std::string type =
      "boost::_bi::bind_t<void, boost::_mfi::mf1<void, shop::Desk<int>, int>, boost::_bi::list2<X, Y> >";
  memory_.put(kOperation + 0x40, kCallback);
  EXPECT_EQ(read(type), (AsioHandler{type, kCallback}));
}

TEST_F(AsioHandlersTest, BoundFunction) {
  const std::string type = "std::_Bind<void (*(std::_Placeholder<1>))(int)>";
  memory_.put(kOperation + 0x58, kOther);
  EXPECT_EQ(read(type), (AsioHandler{type, kOther}));
}

TEST_F(AsioHandlersTest, ErasedMember) {
  erased_ = kMember;
  put_function(kOperation + 0x20, kObject);
  EXPECT_EQ(read("std::function<void (int)>"), (AsioHandler{kMember, 0, kInvoker}));
  memory_.put(kObject, kCallback);
  memory_.put(kObject + 8, 0);
  EXPECT_EQ(read("std::function<void (int)>"), (AsioHandler{kMember, kCallback, kInvoker}));
}

TEST_F(AsioHandlersTest, ErasedFunction) {
  erased_ = "void (*)(int)";
  put_function(kOperation + 0x40, kCallback);
  EXPECT_EQ(read("std::function<void (int)>"), (AsioHandler{erased_, kCallback, kInvoker}));
}

TEST_F(AsioHandlersTest, ErasedLambda) {
  erased_ = "shop::open()::{lambda(int)#1}";
  put_function(kOperation + 0x40, kCallback);
  EXPECT_EQ(read("std::function<void (int)>"), (AsioHandler{erased_, 0, kInvoker}));
}

TEST_F(AsioHandlersTest, NothingIsGuessed) {
  erased_ = kMember;
  memory_.put(kOperation + 0x30, kCallback);
  EXPECT_EQ(read("std::function<void (int)>"), (AsioHandler{"std::function<void (int)>"}));
  EXPECT_EQ(read("shop::Session::Callback"), (AsioHandler{"shop::Session::Callback"}));
  EXPECT_EQ(read("std::_Bind<"), (AsioHandler{"std::_Bind<"}));
}

}  // namespace
}  // namespace asynctrace
