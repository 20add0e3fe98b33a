// The segment's layout, byte by byte, and what the reader makes of a segment that is whole.
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "common/segment_reader.hpp"
#include "test/unit/segment_image.hpp"

namespace asynctrace {
namespace {

using namespace segment;
using test::kItems;
using test::SegmentImage;
using test::small_image;

template <typename T>
std::string hex(const T& item) {
  std::string text;
  for (const auto byte : std::as_bytes(std::span(&item, 1))) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[std::to_integer<int>(byte) >> 4];
    text += kDigits[std::to_integer<int>(byte) & 15];
  }
  return text;
}

// A reader of another version, or one in another language, depends on each of these.
TEST(SegmentLayout, GoldenBytes) {
  EXPECT_EQ(hex(kMagic), "4154524143450a1a");
  EXPECT_EQ(hex(Section{0x1122334455667788, 0x01020304, 0x05060708, 0x090a0b0c, 0x0d0e0f10}),
            "8877665544332211"
            "04030201"
            "08070605"
            "0c0b0a09"
            "100f0e0d");
  EXPECT_EQ(hex(StringRef{0x01020304, 0x05060708}),
            "04030201"
            "08070605");
  EXPECT_EQ(hex(Clock{ClockKind::kTsc, 2, 3, 4, 5, 6, 7}),
            "01000000"
            "02000000"
            "0300000000000000"
            "0400000000000000"
            "0500000000000000"
            "0600000000000000"
            "0700000000000000");
  segment::Module module{1, 2, 3, {4, 5}, 6, {}, 7, ModuleLoop::kOwn, 0};
  for (uint8_t i = 0; i < sizeof(module.build_id); i++) module.build_id[i] = static_cast<uint8_t>(0xa0 + i);
  EXPECT_EQ(hex(module),
            "0100000000000000"
            "0200000000000000"
            "0300000000000000"
            "04000000"
            "05000000"
            "06000000"
            "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf"
            "07000000"
            "02000000"
            "00000000");
  EXPECT_EQ(hex(Poller{0x1122334455667788, RuntimeId::kTokio, 0}),
            "8877665544332211"
            "01000000"
            "00000000");
  EXPECT_EQ(hex(segment::Thread{1, segment::ThreadState::kParked, 2, 3, 4, 5, 6, "worker"}),
            "01000000"
            "01000000"
            "0200000000000000"
            "0300000000000000"
            "0400000000000000"
            "0500000000000000"
            "0600000000000000"
            "776f726b657200000000000000000000");
  EXPECT_EQ(
      hex(segment::Task{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, uint8_t{1} << 4 | kNestsPolls, References::kSome}),
      "0100000000000000"
      "0200000000000000"
      "0300000000000000"
      "0400000000000000"
      "0500000000000000"
      "0600000000000000"
      "07000000"
      "08000000"
      "09000000"
      "0a00"
      "11"
      "02");
  EXPECT_EQ(hex(segment::Leaf{6, kNoExactEnd, 1, 2, 3, 4, 5, 6}),
            "06000000"
            "02000000"
            "0100000000000000"
            "02000000"
            "03000000"
            "0400000000000000"
            "0500000000000000"
            "0600000000000000");
  EXPECT_EQ(hex(segment::Stack{0x01020304, 5, kNoRoot}),
            "04030201"
            "0500"
            "0400");
  EXPECT_EQ(hex(Label{{1, 2}, 3, 0}), "01000000020000000300000000000000");
  EXPECT_EQ(hex(NativeTask{1, 2, 3, 4, 5, "name"}),
            "0100000000000000"
            "0200000000000000"
            "0300000000000000"
            "0400"
            "0500"
            "6e616d6500000000000000000000000000000000000000000000000000000000"
            "00000000");
  EXPECT_EQ(
      hex(Watcher{1, 2, -1, 4, WatcherCheck::kSource, 6, 7, 8, 9, 10, 11, 12, 13, DueClock::kRealtime, {}}),
      "0100000000000000"
      "0200000000000000"
      "ffffffff"
      "0400"
      "0200"
      "06000000"
      "07000000"
      "0800000000000000"
      "0900000000000000"
      "0a000000"
      "0b000000"
      "0c00000000000000"
      "0d00000000000000"
      "0300000000000000");
}

TEST(SegmentLayout, Header) {
  EXPECT_EQ(offsetof(Header, magic), 0u);
  EXPECT_EQ(offsetof(Header, version), 8u);
  EXPECT_EQ(offsetof(Header, header_size), 12u);
  EXPECT_EQ(offsetof(Header, file_size), 16u);
  EXPECT_EQ(offsetof(Header, pid), 24u);
  EXPECT_EQ(offsetof(Header, state), 28u);
  EXPECT_EQ(offsetof(Header, off_reason), 32u);
  EXPECT_EQ(offsetof(Header, ppid), 36u);
  EXPECT_EQ(offsetof(Header, start_time), 40u);
  EXPECT_EQ(offsetof(Header, boot_id), 48u);
  EXPECT_EQ(offsetof(Header, exe), 88u);
  EXPECT_EQ(offsetof(Header, cmdline), 96u);
  EXPECT_EQ(offsetof(Header, agent_version), 104u);
  EXPECT_EQ(offsetof(Header, clock), 112u);
  EXPECT_EQ(offsetof(Header, last_event), 160u);
  EXPECT_EQ(offsetof(Header, sections), 168u);
  EXPECT_EQ(offsetof(Header, counters), 432u);
  EXPECT_EQ(offsetof(Header, next_task_id), 560u);
  EXPECT_EQ(offsetof(Header, repoll), 2704u);
}

TEST(SegmentLayout, Numbers) {
  EXPECT_EQ(kVersion, 3u);
  EXPECT_EQ(kPage, 4096u);
  const int sections[] = {kStrings, kModules, kPollers, kThreads,     kTasks,    kLeaves,
                          kStacks,  kPcs,     kLabels,  kNativeTasks, kWatchers, kSectionCount};
  const int counters[] = {kLostLeaves,   kLostTasks,       kLostStacks,       kLostThreads,
                          kUnwindFailed, kUnmemoizedWalks, kSelfWakingStacks, kTablesOff};
  for (int i = 0; i < 12; i++) EXPECT_EQ(sections[i], i);
  for (int i = 0; i < 8; i++) EXPECT_EQ(counters[i], i);
  EXPECT_EQ(static_cast<int>(AgentState::kStarting), 0);
  EXPECT_EQ(static_cast<int>(AgentState::kTracing), 1);
  EXPECT_EQ(static_cast<int>(AgentState::kExited), 2);
  EXPECT_EQ(static_cast<int>(AgentState::kOff), 3);
  EXPECT_EQ(static_cast<int>(TaskState::kRunning), 1);
  EXPECT_EQ(static_cast<int>(TaskState::kWaiting), 2);
  EXPECT_EQ(static_cast<int>(TaskState::kScheduled), 3);
  EXPECT_EQ(kLeafWriting, 1u);
  EXPECT_EQ(kLeafLive, 2u);
  EXPECT_EQ(static_cast<int>(TaskKind::kTask), 0);
  EXPECT_EQ(static_cast<int>(TaskKind::kBlockOn), 1);
  EXPECT_EQ(static_cast<int>(References::kUnknown), 0);
  EXPECT_EQ(static_cast<int>(References::kNone), 1);
  EXPECT_EQ(static_cast<int>(References::kSome), 2);
  EXPECT_EQ(kNestsPolls, 1);
  EXPECT_EQ(kOwnWaker, 1u);
  EXPECT_EQ(kMet, 8u);
  EXPECT_EQ(kTruncated | kIncomplete << 8, 0x201);
}

SegmentReader reader_of(SegmentImage& image) {
  return std::get<SegmentReader>(SegmentReader::open(image.bytes()));
}

TEST(SegmentReader, ReadsBackWhatIsThere) {
  SegmentImage image = small_image();
  const SegmentReader reader = reader_of(image);
  const Header header = reader.header();
  EXPECT_EQ(reader.string(header.exe), "/opt/shop");
  EXPECT_EQ(reader.string(header.cmdline), std::string_view("shop\0--port\0", 12));
  EXPECT_EQ(reader.string(header.agent_version), "1.2.3");
  EXPECT_EQ(reader.counter(kLostStacks), 9u);
  EXPECT_EQ(reader.clock().ns_per_tick, 0.5);
  EXPECT_EQ(reader.clock().to_monotonic_ns(3000), 6000u);
  EXPECT_EQ(hex(*reader.module(0)), hex(image.at<segment::Module>(kModules, 0)));
  EXPECT_EQ(hex(*reader.poller(0)), hex(image.at<Poller>(kPollers, 0)));
  EXPECT_EQ(hex(*reader.thread(0)), hex(image.at<segment::Thread>(kThreads, 0)));
  EXPECT_EQ(hex(*reader.task(0)), hex(image.at<segment::Task>(kTasks, 0)));
  EXPECT_EQ(hex(*reader.leaf(0)), hex(image.at<segment::Leaf>(kLeaves, 0)));
  const auto stack = reader.stack(0);
  EXPECT_EQ(std::vector(stack->pcs.begin(), stack->pcs.end()),
            (std::vector<uint64_t>{0x2200, 0x2300, 0x2400}));
  EXPECT_EQ(stack->flags, kTruncated);
  for (const SectionId id : {kModules, kPollers, kThreads, kTasks, kLeaves, kStacks})
    EXPECT_EQ(reader.used(id), 1u);
}

TEST(SegmentReader, FreeSlotsHoldNothing) {
  SegmentImage image;
  const SegmentReader reader = reader_of(image);
  for (const uint32_t index : {0u, kItems - 1, kItems, UINT32_MAX}) {
    EXPECT_FALSE(reader.module(index));
    EXPECT_FALSE(reader.thread(index));
    EXPECT_FALSE(reader.task(index));
    EXPECT_FALSE(reader.leaf(index));
    EXPECT_FALSE(reader.stack(index));
  }
  EXPECT_TRUE(reader.poller(kItems - 1));
  EXPECT_FALSE(reader.poller(kItems));
}

TEST(SegmentReader, LeavesThatAreBeingWrittenAreNotShown) {
  SegmentImage image = small_image();
  auto& leaf = image.at<segment::Leaf>(kLeaves, 0);
  for (const uint32_t state : {0u + kLeafFree, 0u + kLeafWriting, 3u}) {
    leaf.seq = 4 | state;
    EXPECT_FALSE(reader_of(image).leaf(0));
  }
  leaf.seq = 4 | kLeafLive;
  EXPECT_TRUE(reader_of(image).leaf(0));
  leaf.task = 0;
  EXPECT_FALSE(reader_of(image).leaf(0));
}

TEST(SegmentReader, ItemsThatContradictThemselvesAreNotShown) {
  SegmentImage image = small_image();
  auto& stack = image.at<segment::Stack>(kStacks, 0);
  const segment::Stack good = stack;
  for (const segment::Stack bad :
       {segment::Stack{1024, 1, 0}, segment::Stack{UINT32_MAX, 1, 0}, segment::Stack{1023, 2, 0},
        segment::Stack{0, kMaxFrames + 1, 0}, segment::Stack{0, 0, 0}}) {
    stack = bad;
    EXPECT_FALSE(reader_of(image).stack(0)) << bad.first_pc << " " << bad.count;
  }
  stack = {1023, 1, 0};
  EXPECT_TRUE(reader_of(image).stack(0));
  stack = good;
  auto& module = image.at<segment::Module>(kModules, 0);
  module.build_id_size = 33;
  EXPECT_FALSE(reader_of(image).module(0));
  module.build_id_size = 32;
  module.end = module.start;
  EXPECT_FALSE(reader_of(image).module(0));
  for (const StringRef ref :
       {StringRef{4096, 1}, StringRef{4097, 0}, StringRef{1, 4096}, StringRef{UINT32_MAX, 2}})
    EXPECT_EQ(reader_of(image).string(ref), "");
  EXPECT_EQ(reader_of(image).string({4095, 1}).size(), 1u);
}

TEST(SegmentReader, WhatWasWrittenByAnotherVersion) {
  SegmentImage image = small_image();
  for (const uint32_t version : {kVersion + 1, kVersion - 1}) {
    image.header().version = version;
    EXPECT_EQ(std::get<SegmentFault>(SegmentReader::open(image.bytes())), SegmentFault::kOtherVersion);
  }
  // An item that has grown keeps its beginning.
  SegmentImage grown = small_image();
  Section& section = grown.header().sections[kLeaves];
  section.item_size = sizeof(segment::Leaf) + 16;
  section.capacity = 10;
  auto second = grown.at<segment::Leaf>(kLeaves, 0);
  second.task = 8;
  memcpy(grown.bytes().data() + section.offset + section.item_size, &second, sizeof(second));
  EXPECT_EQ(reader_of(grown).leaf(0)->task, 7u);
  EXPECT_EQ(reader_of(grown).leaf(1)->task, 8u);
  // What it has grown by is zero in an older file.
  SegmentImage older = small_image();
  older.at<segment::Module>(kModules, 0).loop = ModuleLoop::kOwn;
  EXPECT_EQ(reader_of(older).module(0)->loop, ModuleLoop::kOwn);
  older.header().sections[kModules].item_size = offsetof(segment::Module, loop);
  EXPECT_EQ(reader_of(older).module(0)->loop, ModuleLoop::kUnknown);
}

}  // namespace
}  // namespace asynctrace
