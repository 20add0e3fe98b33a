// The reader over bytes of any kind. Also built with AddressSanitizer and UndefinedBehaviorSanitizer: what it
// touches outside the given bytes ends the test.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "common/segment_reader.hpp"
#include "test/unit/segment_image.hpp"

namespace asynctrace {
namespace {

using namespace segment;
using test::SegmentImage;
using test::small_image;

std::optional<SegmentFault> fault_of(std::span<const std::byte> bytes) {
  const auto opened = SegmentReader::open(bytes);
  const auto* fault = std::get_if<SegmentFault>(&opened);
  return fault != nullptr ? std::optional(*fault) : std::nullopt;
}

SegmentReader reader_of(SegmentImage& image) {
  return std::get<SegmentReader>(SegmentReader::open(image.bytes()));
}

// Calls everything, and touches every byte that it gives.
uint64_t read_all(const SegmentReader& reader) {
  uint64_t sum = reader.header().pid;
  for (uint32_t i = 0; i < kCounterCount; i++) sum += reader.counter(static_cast<Counter>(i));
  const TickRate rate = reader.clock();
  for (const uint64_t ticks : {uint64_t{0}, uint64_t{1}, rate.ticks0, UINT64_MAX})
    sum += rate.to_monotonic_ns(ticks);
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
  for (uint32_t i = 0; i <= reader.used(kThreads); i++)
    sum += reader.thread(i).value_or(segment::Thread{}).parks;
  for (uint32_t i = 0; i <= reader.used(kTasks); i++) sum += reader.task(i).value_or(segment::Task{}).polls;
  for (uint32_t i = 0; i <= reader.used(kLeaves); i++) sum += reader.leaf(i).value_or(segment::Leaf{}).task;
  for (uint32_t i = 0; i <= reader.used(kStacks); i++)
    if (const auto stack = reader.stack(i))
      for (const uint64_t pc : stack->pcs) sum += pc;
  return sum;
}

TEST(SegmentDamage, RefusesWhatIsNoSegment) {
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
  for (const auto fault : {SegmentFault::kTooShort, SegmentFault::kNotASegment, SegmentFault::kOtherVersion,
                           SegmentFault::kBadLayout})
    EXPECT_STRNE(describe(fault), "unknown fault");
}

TEST(SegmentDamage, RefusesSectionsThatDoNotFit) {
  for (uint32_t id = 0; id < kSectionCount; id++) {
    const auto fault_with = [id](auto change) {
      SegmentImage image = small_image();
      change(image.header().sections[id]);
      return fault_of(image.bytes());
    };
    const uint64_t size = small_image().bytes().size();
    for (const uint64_t offset : {uint64_t{0}, kPage - 8, kPage + 4, size + 8, UINT64_MAX, UINT64_MAX - 7})
      EXPECT_EQ(fault_with([=](Section& s) { s.offset = offset; }), SegmentFault::kBadLayout)
          << id << " " << offset;
    for (const uint32_t item_size : {0u, 4104u, UINT32_MAX})
      EXPECT_EQ(fault_with([=](Section& s) { s.item_size = item_size; }), SegmentFault::kBadLayout) << id;
    if (id != kStrings) {
      EXPECT_EQ(fault_with([](Section& s) { s.item_size += 4; }), SegmentFault::kBadLayout) << id;
      const uint32_t grown_by = id == kModules ? 8 : 0;  // since the first version
      EXPECT_EQ(fault_with([=](Section& s) { s.item_size -= grown_by + 8; }), SegmentFault::kBadLayout) << id;
    }
  }
}

TEST(SegmentDamage, CountsAreBoundedByTheFile) {
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

TEST(SegmentDamage, FilesCutShort) {
  SegmentImage image = small_image();
  std::vector<size_t> lengths;
  for (size_t length = 0; length < image.bytes().size(); length += length < 2 * kPage ? 8 : 1000)
    lengths.push_back(length);
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

TEST(SegmentDamage, EveryByteOfTheHeaderChanged) {
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

TEST(SegmentDamage, GarbageInEverySection) {
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

TEST(SegmentDamage, GarbageEverywhere) {
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
        EXPECT_LE((TickRate{ClockKind::kTsc, ticks0, 5, ns_per_tick}.to_monotonic_ns(ticks)),
                  uint64_t{1} << 63);
}

}  // namespace
}  // namespace asynctrace
