// The segment's layout, byte by byte, and the reader over bytes of any kind. Also built with AddressSanitizer and
// UndefinedBehaviorSanitizer: what the reader touches outside the given bytes ends the test.
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>

#include "common/segment_reader.hpp"
#include "test/unit/segment_image.hpp"

namespace asynctrace {
namespace {

using namespace segment;
using test::kItems;
using test::SegmentImage;

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
            "8877665544332211" "04030201" "08070605" "0c0b0a09" "100f0e0d");
  EXPECT_EQ(hex(StringRef{0x01020304, 0x05060708}), "04030201" "08070605");
  EXPECT_EQ(hex(Clock{ClockKind::kTsc, 2, 3, 4, 5, 6, 7}),
            "01000000" "02000000" "0300000000000000" "0400000000000000" "0500000000000000" "0600000000000000"
            "0700000000000000");
  segment::Module module{1, 2, 3, {4, 5}, 6, {}, 0};
  for (uint8_t i = 0; i < sizeof(module.build_id); i++) module.build_id[i] = static_cast<uint8_t>(0xa0 + i);
  EXPECT_EQ(hex(module), "0100000000000000" "0200000000000000" "0300000000000000" "04000000" "05000000" "06000000"
                         "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf" "00000000");
  EXPECT_EQ(hex(Poller{0x1122334455667788, RuntimeId::kTokio, 0}), "8877665544332211" "01000000" "00000000");
  EXPECT_EQ(hex(segment::Thread{1, segment::ThreadState::kParked, 2, 3, 4, 5, 6, "worker"}),
            "01000000" "01000000" "0200000000000000" "0300000000000000" "0400000000000000" "0500000000000000"
            "0600000000000000" "776f726b657200000000000000000000");
  EXPECT_EQ(hex(segment::Task{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, uint8_t{1} << 4 | kNestsPolls, References::kSome}),
            "0100000000000000" "0200000000000000" "0300000000000000" "0400000000000000" "0500000000000000"
            "0600000000000000" "07000000" "08000000" "09000000" "0a00" "11" "02");
  EXPECT_EQ(hex(segment::Leaf{6, kNoExactEnd, 1, 2, 3, 4, 5, 6}),
            "06000000" "02000000" "0100000000000000" "02000000" "03000000" "0400000000000000" "0500000000000000"
            "0600000000000000");
  EXPECT_EQ(hex(segment::Stack{0x01020304, 5, kNoRoot}), "04030201" "0500" "0400");
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
  EXPECT_EQ(offsetof(Header, counters), 360u);
  EXPECT_EQ(offsetof(Header, next_task_id), 488u);
}

TEST(SegmentLayout, Numbers) {
  EXPECT_EQ(kVersion, 1u);
  EXPECT_EQ(kPage, 4096u);
  const int sections[] = {kStrings, kModules, kPollers, kThreads, kTasks, kLeaves, kStacks, kPcs, kSectionCount};
  const int counters[] = {kLostLeaves,   kLostTasks,       kLostStacks,       kLostThreads,
                          kUnwindFailed, kUnmemoizedWalks, kSelfWakingStacks, kTablesOff};
  for (int i = 0; i < 9; i++) EXPECT_EQ(sections[i], i);
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
  EXPECT_EQ(kTruncated | kIncomplete << 8, 0x201);
}

std::optional<SegmentFault> fault_of(std::span<const std::byte> bytes) {
  const auto opened = SegmentReader::open(bytes);
  const auto* fault = std::get_if<SegmentFault>(&opened);
  return fault != nullptr ? std::optional(*fault) : std::nullopt;
}

SegmentReader reader_of(SegmentImage& image) { return std::get<SegmentReader>(SegmentReader::open(image.bytes())); }

// Calls everything, and touches every byte that it gives.
uint64_t read_all(const SegmentReader& reader) {
  uint64_t sum = reader.header().pid;
  for (uint32_t i = 0; i < kCounterCount; i++) sum += reader.counter(static_cast<Counter>(i));
  const TickRate rate = reader.clock();
  for (const uint64_t ticks : {uint64_t{0}, uint64_t{1}, rate.ticks0, UINT64_MAX}) sum += rate.to_monotonic_ns(ticks);
  const auto touch = [&](StringRef ref) {
    for (const char c : reader.string(ref)) sum += static_cast<unsigned char>(c);
  };
  const Header header = reader.header();
  for (const StringRef ref : {header.exe, header.cmdline, header.agent_version}) touch(ref);
  for (uint32_t i = 0; i <= reader.used(kModules); i++)
    if (const auto module = reader.module(i)) {
      touch(module->path);
      for (uint32_t byte = 0; byte < module->build_id_size; byte++) sum += module->build_id[byte];
    }
  for (uint32_t i = 0; i <= reader.used(kPollers); i++) sum += reader.poller(i).value_or(Poller{}).address;
  for (uint32_t i = 0; i <= reader.used(kThreads); i++) sum += reader.thread(i).value_or(segment::Thread{}).parks;
  for (uint32_t i = 0; i <= reader.used(kTasks); i++) sum += reader.task(i).value_or(segment::Task{}).polls;
  for (uint32_t i = 0; i <= reader.used(kLeaves); i++) sum += reader.leaf(i).value_or(segment::Leaf{}).task;
  for (uint32_t i = 0; i <= reader.used(kStacks); i++)
    if (const auto stack = reader.stack(i))
      for (const uint64_t pc : stack->pcs) sum += pc;
  return sum;
}

// One item of each kind.
SegmentImage small_image() {
  SegmentImage image;
  Header& header = image.header();
  header.exe = image.add_string("/opt/shop");
  header.cmdline = image.add_string(std::string_view("shop\0--port\0", 12));
  header.agent_version = image.add_string("1.2.3");
  header.clock = {ClockKind::kTsc, 2, 1000, 5000, 2000, 5500, 77};
  header.counters[kLostStacks] = 9;
  image.add(kModules, segment::Module{0x1000, 0x2000, 0x3000, header.exe, 2, {0xab, 0xcd}, 0});
  image.add(kPollers, Poller{0x2100, RuntimeId::kTokio, 0});
  image.add(kThreads, segment::Thread{43, segment::ThreadState::kParked, 1, 2, 3, 4, 5, "worker"});
  image.add(kTasks, segment::Task{7, 0x9000, 5 << 2 | 2, 4, 3, 2, 11, 1, 43, 0, 0, References::kNone});
  const uint64_t pcs[] = {0x2200, 0x2300, 0x2400};
  const uint32_t stack = image.add_stack(pcs, kTruncated);
  image.add(kLeaves, segment::Leaf{4 | kLeafLive, kOwnWaker, 7, stack, 11, 6, 6, 0x8000});
  return image;
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
  EXPECT_EQ(std::vector(stack->pcs.begin(), stack->pcs.end()), (std::vector<uint64_t>{0x2200, 0x2300, 0x2400}));
  EXPECT_EQ(stack->flags, kTruncated);
  for (const SectionId id : {kModules, kPollers, kThreads, kTasks, kLeaves, kStacks}) EXPECT_EQ(reader.used(id), 1u);
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
  for (const segment::Stack bad : {segment::Stack{1024, 1, 0}, segment::Stack{UINT32_MAX, 1, 0},
                                   segment::Stack{1023, 2, 0}, segment::Stack{0, kMaxFrames + 1, 0},
                                   segment::Stack{0, 0, 0}}) {
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
  for (const StringRef ref : {StringRef{4096, 1}, StringRef{4097, 0}, StringRef{1, 4096}, StringRef{UINT32_MAX, 2}})
    EXPECT_EQ(reader_of(image).string(ref), "");
  EXPECT_EQ(reader_of(image).string({4095, 1}).size(), 1u);
}

TEST(SegmentReader, WhatWasWrittenByAnotherVersion) {
  SegmentImage image = small_image();
  image.header().version = kVersion + 1;
  EXPECT_EQ(fault_of(image.bytes()), SegmentFault::kNewerVersion);
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
}

TEST(SegmentReader, RefusesWhatIsNoSegment) {
  EXPECT_EQ(fault_of({}), SegmentFault::kTooShort);
  SegmentImage image = small_image();
  EXPECT_EQ(fault_of(image.bytes().first(kPage - 1)), SegmentFault::kTooShort);
  for (int i = 0; i < 8; i++) {
    SegmentImage other = small_image();
    other.header().magic[i] ^= 1;
    EXPECT_EQ(fault_of(other.bytes()), SegmentFault::kNotASegment);
  }
  SegmentImage unfinished = small_image();
  memset(unfinished.header().magic, 0, sizeof(kMagic));
  EXPECT_EQ(fault_of(unfinished.bytes()), SegmentFault::kNotASegment);
  for (const auto fault : {SegmentFault::kTooShort, SegmentFault::kNotASegment, SegmentFault::kNewerVersion,
                           SegmentFault::kBadLayout})
    EXPECT_STRNE(describe(fault), "unknown fault");
}

TEST(SegmentReader, RefusesSectionsThatDoNotFit) {
  for (uint32_t id = 0; id < kSectionCount; id++) {
    const auto fault_with = [id](auto change) {
      SegmentImage image = small_image();
      change(image.header().sections[id]);
      return fault_of(image.bytes());
    };
    const uint64_t size = small_image().bytes().size();
    for (const uint64_t offset : {uint64_t{0}, kPage - 8, kPage + 4, size + 8, UINT64_MAX, UINT64_MAX - 7})
      EXPECT_EQ(fault_with([=](Section& s) { s.offset = offset; }), SegmentFault::kBadLayout) << id << " " << offset;
    for (const uint32_t item_size : {0u, 4104u, UINT32_MAX})
      EXPECT_EQ(fault_with([=](Section& s) { s.item_size = item_size; }), SegmentFault::kBadLayout) << id;
    if (id != kStrings) {
      EXPECT_EQ(fault_with([](Section& s) { s.item_size += 4; }), SegmentFault::kBadLayout) << id;
      EXPECT_EQ(fault_with([](Section& s) { s.item_size -= 8; }), SegmentFault::kBadLayout) << id;
    }
  }
}

TEST(SegmentReader, CountsAreBoundedByTheFile) {
  for (uint32_t id = 0; id < kSectionCount; id++) {
    SegmentImage image = small_image();
    Section& section = image.header().sections[id];
    section.used = UINT32_MAX;
    EXPECT_EQ(reader_of(image).used(static_cast<SectionId>(id)), section.capacity);
    section.capacity = UINT32_MAX;
    const uint64_t room = (image.bytes().size() - section.offset) / section.item_size;
    EXPECT_EQ(reader_of(image).used(static_cast<SectionId>(id)), room);
    read_all(reader_of(image));
    section.offset = image.bytes().size();
    EXPECT_EQ(reader_of(image).used(static_cast<SectionId>(id)), 0u);
    read_all(reader_of(image));
  }
}

// A copy in memory of exactly that size, so that a sanitizer sees each byte that is read past it.
std::vector<uint64_t> words_of(std::span<const std::byte> bytes) {
  const auto* first = reinterpret_cast<const uint64_t*>(bytes.data());
  return {first, first + bytes.size() / 8};
}

TEST(SegmentReader, FilesCutShort) {
  SegmentImage image = small_image();
  std::vector<size_t> lengths;
  for (size_t length = 0; length < image.bytes().size(); length += length < 2 * kPage ? 8 : 1000) lengths.push_back(length);
  for (const Section& section : image.header().sections) {
    const uint64_t end = section.offset + uint64_t{section.item_size} * section.capacity;
    for (const uint64_t near : {section.offset, section.offset + section.item_size, end})
      for (const int64_t off : {-8, 0, 8}) lengths.push_back(near + static_cast<uint64_t>(off));
  }
  uint64_t opened = 0;
  for (const size_t length : lengths) {
    const auto words = words_of(image.bytes().first(std::min(length, image.bytes().size()) / 8 * 8));
    const auto reader = SegmentReader::open(std::as_bytes(std::span(words)));
    if (const auto* whole = std::get_if<SegmentReader>(&reader)) opened++, read_all(*whole);
  }
  EXPECT_GT(opened, 0u);
}

TEST(SegmentReader, EveryByteOfTheHeaderChanged) {
  SegmentImage image = small_image();
  uint64_t opened = 0, refused = 0;
  for (size_t at = 0; at < sizeof(Header); at++) {
    const std::byte good = image.bytes()[at];
    for (const int flip : {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff}) {
      image.bytes()[at] = good ^ static_cast<std::byte>(flip);
      const auto reader = SegmentReader::open(image.bytes());
      if (const auto* whole = std::get_if<SegmentReader>(&reader)) opened++, read_all(*whole);
      else refused++;
    }
    image.bytes()[at] = good;
  }
  EXPECT_GT(opened, 1000u);
  EXPECT_GT(refused, 100u);
}

TEST(SegmentReader, GarbageInEverySection) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 300; round++) {
    SegmentImage image = small_image();
    for (size_t at = kPage; at < image.bytes().size(); at += 8) {
      const uint64_t word = random() >> random() % 64;
      memcpy(image.bytes().data() + at, &word, 8);
    }
    for (Section& section : image.header().sections) section.used = static_cast<uint32_t>(random());
    read_all(reader_of(image));
  }
}

TEST(SegmentReader, GarbageEverywhere) {
  std::mt19937_64 random(2);
  uint64_t opened = 0;
  for (int round = 0; round < 3000; round++) {
    std::vector<uint64_t> words(kPage / 8 + random() % 2048);
    for (uint64_t& word : words) word = random() >> random() % 64;
    auto& header = *reinterpret_cast<Header*>(words.data());
    // Most rounds get as far as a garbled layout lets them.
    if (round % 4 != 0) {
      memcpy(header.magic, kMagic, sizeof(kMagic));
      header.version = kVersion;
    }
    if (round % 4 == 2)
      for (uint32_t id = 0; id < kSectionCount; id++) {
        header.sections[id].offset = kPage + random() % (words.size() * 8 - kPage + 1) / 8 * 8;
        header.sections[id].item_size = id == kPcs ? 8 : static_cast<uint32_t>(72 + random() % 8 * 8);
      }
    const auto reader = SegmentReader::open(std::as_bytes(std::span(words)));
    if (const auto* whole = std::get_if<SegmentReader>(&reader)) opened++, read_all(*whole);
  }
  EXPECT_GT(opened, 500u);
}

TEST(TickRate, NeverLeavesItsRange) {
  for (const double ns_per_tick : {0.0, 1e-9, 0.3, 1.0, 1e300})
    for (const uint64_t ticks0 : {uint64_t{0}, uint64_t{1} << 40, UINT64_MAX})
      for (const uint64_t ticks : {uint64_t{0}, uint64_t{1} << 40, UINT64_MAX})
        EXPECT_LE((TickRate{ClockKind::kTsc, ticks0, 5, ns_per_tick}.to_monotonic_ns(ticks)), uint64_t{1} << 63);
}

}  // namespace
}  // namespace asynctrace
