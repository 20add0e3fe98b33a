// Frames of coroutines in memory written by hand: what is taken for one, which blocks of glibc's hold one in
// use, and what Asio's operations are called.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "cli/coroutines/asio_operations.hpp"
#include "cli/coroutines/frame_scan.hpp"
#include "cli/coroutines/glibc_heaps.hpp"
#include "test/unit/hand_built_types.hpp"

namespace asynctrace {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kResume = 0x5000, kDestroy = 0x5100, kCleanup = 0x5200;
constexpr uint64_t kHeap = 0x100000, kHeapEnd = 0x104000, kStack = 0x300000, kStackEnd = 0x301000;
constexpr uint64_t kThreadHeap = 0x8000000, kThreadHeapSize = 0x21000;

class CoroutineFramesTest : public ::testing::Test {
 protected:
  CoroutineFramesTest() {
    auto memory = std::make_unique<HandBuiltMemory>();
    memory_ = memory.get();
    fill(kHeap, kHeapEnd);
    fill(kStack, kStackEnd);
    image_.memory = std::move(memory);
    image_.writable = {{kHeap, kHeapEnd, false}, {kStack, kStackEnd, true}};
    CoroutineFunction function;
    function.resume = {kResume, kResume + 0x80};
    function.destroys = {kDestroy};
    function.cleanups = {kCleanup};
    functions_ = {function};
  }

  void fill(uint64_t start, uint64_t end) {
    for (uint64_t at = start; at < end; at += 8) memory_->put(at, 0);
  }
  void put_frame(uint64_t address, uint64_t resume, uint64_t destroy) {
    memory_->put(address, resume);
    memory_->put(address + 8, destroy);
  }
  std::vector<uint64_t> frames() {
    std::vector<uint64_t> addresses;
    for (const CoroutineFrame& frame : scan_for_frames(image_, functions_))
      addresses.push_back(frame.address);
    return addresses;
  }

  // Chunks one after the other; returns where the user's part of each begins, and of what is behind them.
  std::vector<uint64_t> put_chunks(uint64_t first, std::initializer_list<std::pair<uint64_t, bool>> chunks,
                                   uint64_t end) {
    std::vector<uint64_t> blocks;
    bool before_in_use = true;
    for (const auto& [size, in_use] : chunks) {
      memory_->put(first + 8, size | (before_in_use ? 1 : 0));
      blocks.push_back(first + 16);
      first += size;
      before_in_use = in_use;
    }
    memory_->put(first + 8, (end - first) | (before_in_use ? 1 : 0));
    blocks.push_back(first + 16);
    return blocks;
  }
  std::vector<BlockState> states(const std::vector<uint64_t>& addresses) {
    std::vector<BlockState> found;
    for (const Block& block : find_blocks(image_, addresses)) found.push_back(block.state);
    return found;
  }

  HandBuiltMemory* memory_;
  ProcessImage image_;
  std::vector<CoroutineFunction> functions_;
};

using enum BlockState;

TEST_F(CoroutineFramesTest, BothAddressesMakeAFrame) {
  put_frame(kHeap + 0x100, kResume, kDestroy);
  put_frame(kHeap + 0x200, kResume, kResume);  // resumes, but nothing destroys it
  put_frame(kHeap + 0x300, kDestroy, kResume);
  put_frame(kHeap + 0x408, kResume, kCleanup);  // in the frame of its caller
  put_frame(kHeapEnd - 16, kResume, kDestroy);
  EXPECT_THAT(frames(), ElementsAre(kHeap + 0x100, kHeap + 0x408, kHeapEnd - 16));
}

TEST_F(CoroutineFramesTest, OneThatHasEndedLiesWhereAllocatorsPutIt) {
  put_frame(kHeap + 0x100, 0, kDestroy);
  put_frame(kHeap + 0x208, 0, kDestroy);
  const auto found = scan_for_frames(image_, functions_);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].address, kHeap + 0x100);
  EXPECT_TRUE(found[0].has_ended);
}

TEST_F(CoroutineFramesTest, OnTheStackOnlyWhatWasMadeForIt) {
  put_frame(kStack + 0x100, kResume, kDestroy);  // constants that a compiler keeps there
  put_frame(kStack + 0x200, kResume, kCleanup);
  put_frame(kStack + 0x300, 0, kDestroy);
  EXPECT_THAT(frames(), ElementsAre(kStack + 0x200));
}

TEST_F(CoroutineFramesTest, BlocksOfTheMainHeap) {
  const auto blocks =
      put_chunks(kHeap, {{0x290, true}, {0x100, true}, {0x200, false}, {0x80, true}}, kHeapEnd);
  EXPECT_THAT(
      states({blocks[1], blocks[1] + 0x40, blocks[2], blocks[2] + 0x100, blocks[3], blocks[4] + 0x100}),
      ElementsAre(kInUse, kInside, kFree, kFree, kInUse, kFree));
  const auto found = find_blocks(image_, std::vector{blocks[1], blocks[1] + 0x40});
  EXPECT_EQ(found[0].size, 0xf8U);
  EXPECT_EQ(found[1].start, blocks[1]);
}

TEST_F(CoroutineFramesTest, VariablesOfAStaticProgramComeFirst) {
  const auto blocks = put_chunks(kHeap + 0x8c0, {{0x290, true}, {0x100, true}}, kHeapEnd);
  EXPECT_THAT(states({blocks[1]}), ElementsAre(kInUse));
}

TEST_F(CoroutineFramesTest, BrokenChunksTellNothing) {
  const auto blocks = put_chunks(kHeap, {{0x290, true}, {0x100, true}, {0x80, true}}, kHeapEnd);
  memory_->put(blocks[1] - 8, 0x13);
  EXPECT_THAT(states({blocks[1], blocks[2]}), ElementsAre(kUnknown, kUnknown));
}

TEST_F(CoroutineFramesTest, BlocksOfAnotherThread) {
  fill(kThreadHeap, kThreadHeap + kThreadHeapSize);
  image_.writable.push_back({kThreadHeap, kThreadHeap + kThreadHeapSize, false});
  memory_->put(kThreadHeap, kThreadHeap + 0x30);  // its arena
  memory_->put(kThreadHeap + 16, kThreadHeapSize);
  const auto blocks = put_chunks(kThreadHeap + 0x8d0, {{0x290, true}, {0x100, true}, {0x80, false}},
                                 kThreadHeap + kThreadHeapSize);
  EXPECT_THAT(states({blocks[1], blocks[2], blocks[3]}), ElementsAre(kInUse, kFree, kFree));
}

TEST_F(CoroutineFramesTest, AMappedBlock) {
  memory_->put(kHeap + 0x1008, 0x2000 | 2);
  EXPECT_THAT(states({kHeap + 0x1010, kHeap + 0x1020}), ElementsAre(kInUse, kUnknown));
}

TEST_F(CoroutineFramesTest, AnyMemoryIsSurvived) {
  std::mt19937_64 random(1);
  const uint64_t likely[] = {0,    kResume, kDestroy,           kCleanup, 0x291,
                             0x31, 0x21,    kThreadHeap + 0x30, kHeap,    ~0ULL};
  for (int round = 0; round < 20; ++round) {
    for (uint64_t at = kHeap; at < kHeapEnd; at += 8) memory_->put(at, likely[random() % std::size(likely)]);
    std::vector<uint64_t> addresses = frames();
    EXPECT_EQ(find_blocks(image_, addresses).size(), addresses.size());
  }
}

TEST(AsioOperations, InPlainWords) {
  const auto text = [](std::string_view function) {
    const auto operation = asio_operation(function);
    return operation ? operation->text : "";
  };
  constexpr std::string_view kResult =
      "asio::async_result<asio::use_awaitable_t<asio::any_io_executor>, void ()>";
  const auto initiate = [&](std::string_view initiation) {
    return std::string(kResult) + "::initiate<" + std::string(initiation) + ", int>(int)";
  };
  EXPECT_EQ(text(initiate("asio::basic_stream_socket<asio::ip::tcp>::initiate_async_receive")),
            "async_read_some");
  EXPECT_EQ(text(initiate("asio::experimental::basic_channel<void ()>::initiate_async_send")),
            "channel send");
  EXPECT_EQ(text(initiate("asio::basic_waitable_timer<std::chrono::_V2::steady_clock>::initiate_async_wait")),
            "steady_timer");
  EXPECT_EQ(text(initiate("asio::ip::basic_resolver<asio::ip::tcp>::initiate_async_resolve")),
            "async_resolve");
  EXPECT_EQ(asio_operation(initiate("shop::initiate_sale"))->leaf_class, 0U);
  EXPECT_EQ(text("shop::checkout(int)"), "");
  EXPECT_TRUE(is_asio("boost::asio::detail::f()"));
  EXPECT_FALSE(is_asio("shop::f(asio::any_io_executor)"));
}

}  // namespace
}  // namespace asynctrace
