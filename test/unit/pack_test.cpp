// Packed files: they say what the segment and the program said, and nothing in them is believed.
#include "cli/pack/pack.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <sstream>

#include "cli/compressed.hpp"
#include "cli/pack/pack_format.hpp"
#include "cli/pack/packed_file.hpp"
#include "cli/process/death_record.hpp"
#include "cli/read_snapshot.hpp"
#include "cli/render/json.hpp"
#include "cli/tree/report.hpp"
#include "test/unit/resolved.hpp"
#include "test/unit/segment_image.hpp"

namespace asynctrace {
namespace {

using test::SegmentImage;
using test::TemporaryFile;
using testing::HasSubstr;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// A task that waits at an inlined call of `program`.
SegmentImage image_of(const Module& program) {
  using namespace segment;
  SegmentImage image;
  image.header().exe = image.add_string(program.path);
  segment::Module module{kBias, kBias, kBias + kSize, image.header().exe, 0, {}, 0};
  module.build_id_size = static_cast<uint32_t>(program.build_id.size());
  std::ranges::copy(program.build_id, module.build_id);
  image.add(kModules, module);
  const auto at = addresses("chain_dwarf5");
  image.add(kPollers, Poller{kBias + at.at("entry"), RuntimeId::kTokio, 0});
  image.add(kTasks, segment::Task{7, 0x9000, 5 << 2 | 2, 4, 3, 2, 11, 1, 43, 0, 0, References::kNone});
  const uint64_t pcs[] = {kBias + at.at("inlined"), kBias + at.at("local"), 0x10};
  image.add(kLeaves, segment::Leaf{4 | kLeafLive, kOwnWaker, 7, image.add_stack(pcs), 11, 6, 6, 0});
  image.header().next_task_id = 8;
  return image;
}

std::string packed(const std::string& path) {
  const auto file = SegmentFile::open(path);
  const auto snapshot = read_snapshot(path);
  if (!file || !snapshot) throw std::runtime_error("the segment cannot be read");
  Symbolizer symbols(snapshot->modules);
  return pack::pack(*file, *snapshot, symbols).value();
}

std::string json(const std::string& path) {
  auto snapshot = read_snapshot(path);
  if (!snapshot) return snapshot.error().message;
  snapshot->captured_realtime_ns = 1;
  snapshot->capture_ns = 1;
  Symbolizer symbols(snapshot->modules, {}, snapshot->symbols);
  const Report report = build_report(*snapshot, symbols);
  std::ostringstream out;
  render_json(report, {}, out);
  return out.str();
}

TEST(Pack, ReadsAsTheSegmentDidWithItsProgram) {
  const Scratch scratch;
  const std::string program = (scratch.path / "chain").string();
  copy_to(fixture("chain_dwarf5"), program);
  SegmentImage image = image_of(known_module(program));
  const TemporaryFile file(image.bytes());
  record_death(file.path(), {SIGKILL, 10'000});
  const std::string before = json(file.path());
  EXPECT_THAT(before, HasSubstr("chain::outer(int)"));
  EXPECT_THAT(before, HasSubstr("chain.cpp"));
  const std::string bytes = packed(file.path());
  EXPECT_EQ(packed(file.path()), bytes);
  EXPECT_LT(bytes.size(), 4000u);
  fs::remove(program);
  const TemporaryFile elsewhere(bytes_of(bytes));
  EXPECT_EQ(json(elsewhere.path()), before);
  EXPECT_NE(json(file.path()), before);
}

TEST(Pack, KeepsWhyThereAreNoSymbols) {
  Module other = known_module(fixture("chain_dwarf5"));
  other.build_id[0] ^= 1;
  Module gone = module_at("/nonexistent/app");
  for (const auto& [module, reason] :
       {std::pair(other, "build-id differs"), std::pair(gone, "cannot be opened")}) {
    SegmentImage image = image_of(module);
    const TemporaryFile file(image.bytes());
    const std::string before = json(file.path());
    EXPECT_THAT(before, HasSubstr(reason));
    EXPECT_EQ(json(TemporaryFile(bytes_of(packed(file.path()))).path()), before);
  }
}

TEST(Pack, ItsHeaderIsLeftAlone) {
  SegmentImage image = image_of(known_module(fixture("chain_dwarf5")));
  const TemporaryFile file(image.bytes());
  const std::string bytes = packed(file.path());
  const TemporaryFile elsewhere(bytes_of(bytes));
  record_death(elsewhere.path(), {SIGKILL, 10'000});
  std::ostringstream now;
  now << std::ifstream(elsewhere.path(), std::ios::binary).rdbuf();
  EXPECT_EQ(now.str(), bytes);
}

TEST(Pack, DamageIsRefused) {
  SegmentImage image = image_of(known_module(fixture("chain_dwarf5")));
  const std::string good = packed(TemporaryFile(image.bytes()).path());
  const std::string whole = json(TemporaryFile(bytes_of(good)).path());
  size_t harmless = 0;
  for (size_t i = 8; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x40);
    const TemporaryFile file(bytes_of(bad));
    const auto read = read_snapshot(file.path());
    if (read) {  // a bit that says nothing, as the last byte of an entropy table has some
      ++harmless;
      EXPECT_EQ(json(file.path()), whole) << i;
      continue;
    }
    EXPECT_THAT(read.error().message, testing::AnyOf(HasSubstr("damaged"), HasSubstr("newer version"))) << i;
    EXPECT_FALSE(read.error().remedy.empty());
  }
  EXPECT_LT(harmless, 16u);
  for (size_t size = 0; size < good.size(); size += 11)
    EXPECT_FALSE(read_snapshot(TemporaryFile(bytes_of(good.substr(0, size))).path())) << size;
  EXPECT_FALSE(read_snapshot(TemporaryFile(bytes_of(good + 'x')).path()));
}

TEST(Pack, SymbolsOfOtherModulesAreRefused) {
  SegmentImage image = image_of(known_module(fixture("chain_dwarf5")));
  const std::string good = packed(TemporaryFile(image.bytes()).path());
  EXPECT_TRUE(pack::unpack_symbols(bytes_of(good), 1));
  EXPECT_FALSE(pack::unpack_symbols(bytes_of(good), 0));
  EXPECT_FALSE(pack::unpack_symbols(bytes_of(good), 2));
}

TEST(Pack, WhatSaysThatItIsTooLargeTakesNoMemory) {
  const std::string zeros(1 << 20, '\0');
  const std::string frame = compress(bytes_of(zeros), 1);
  EXPECT_EQ(decompress(bytes_of(frame), zeros.size())->bytes().size(), zeros.size());
  EXPECT_FALSE(decompress(bytes_of(frame), zeros.size() - 1));
  EXPECT_FALSE(decompress(bytes_of(frame + frame), zeros.size() * 2)) << "two frames";
  // A frame header for 8 bytes of size, which says almost 2^64.
  std::string boast("\x28\xb5\x2f\xfd\xe4", 5);
  boast.append(8, '\xfe');
  EXPECT_FALSE(decompress(bytes_of(boast), pack::kMaxSegment));
  EXPECT_FALSE(decompress({}, pack::kMaxSegment));
}

// A small table whose frames would fill the memory.
TEST(Pack, TextsThatExpandTooFarAreRefused) {
  constexpr uint32_t kFrames = 300;
  ByteWriter out;
  out.put(uint32_t{2});
  out.put_text("");
  out.put_text(std::string(4 << 20, 'x'));
  out.put(uint32_t{1});  // one frame: its function is the second text
  for (const uint32_t field : {1, 0, 0, 0, 0, 0, 0}) out.put(field);
  out.put(kFrames);
  for (uint32_t i = 0; i < kFrames; ++i) out.put(uint32_t{0});
  out.put(uint32_t{1});  // one address with all of them
  out.put(uint64_t{0x1000});
  out.put(kFrames);
  out.put(Evidence::kDebugInfo);
  out.put(uint32_t{0});
  const std::string bytes = out.take();
  EXPECT_LT(bytes.size(), 5u << 20);
  ByteReader in(bytes_of(bytes));
  SymbolTable::read(in);
  EXPECT_FALSE(in.ok());
  // With shorter texts it is a table.
  std::string honest = bytes;
  honest.erase(12, (4 << 20) - 1).replace(8, 4, std::string("\1\0\0\0", 4));
  ByteReader again(bytes_of(honest));
  EXPECT_EQ(SymbolTable::read(again).frames({0, kFrames, Evidence::kDebugInfo}).size(), kFrames);
  EXPECT_TRUE(again.ok() && again.at_end());
}

}  // namespace
}  // namespace asynctrace
