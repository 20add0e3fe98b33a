// What the symbolizer stands on: symbols of a file, its separate debug file, address ranges.
#include "cli/symbols/elf_file.hpp"

#include <gtest/gtest.h>

#include "cli/symbols/debug_file.hpp"
#include "cli/symbols/range_map.hpp"
#include "test/unit/fixtures/fixtures.hpp"

namespace asynctrace {
namespace {

TEST(ElfFile, OfSeveralSymbolsTheBestNameWins) {
  auto file = ElfFile::open(fixture("plain_c"));
  ASSERT_TRUE(file.has_value()) << file.error();
  const uint64_t at = addresses("plain_c").at("names");
  const auto name = [&](uint64_t address) -> std::string {
    const auto symbol = (*file)->symbol_at(address);
    return symbol ? std::string(symbol->name) : "";
  };
  EXPECT_EQ(name(at), "wide");
  EXPECT_EQ(name(at + 3), "wide");
  EXPECT_EQ(name(at + 5), "weak_long");
  EXPECT_EQ(name(at + 8), "unsized");
  EXPECT_EQ(name(at + 15), "unsized");
  EXPECT_EQ(name(at + 16), "last");
  EXPECT_EQ(name(at + 20), "");
  EXPECT_EQ(name(at + 27), "enclosing");
  EXPECT_EQ(name(at + 29), "enclosed");
  EXPECT_EQ(name(at + 31), "enclosing");
  EXPECT_EQ(name(0), "");
}

TEST(DebugFile, SeparateDebugFilesAreFoundInEachPlace) {
  const Scratch scratch;
  const fs::path app = scratch.path / "app/chain";
  const fs::path root = scratch.path / "debug";
  fs::create_directories(app.parent_path());
  fs::copy_file(fixture("chain_separate"), app);
  auto file = ElfFile::open(app);
  ASSERT_TRUE(file.has_value()) << file.error();
  ASSERT_EQ((*file)->debug_link(), "chain_separate.debug");
  EXPECT_EQ(find_debug_file(**file, root), nullptr);

  const std::string id = hex((*file)->build_id());
  const fs::path by_id = fs::path(".build-id") / id.substr(0, 2) / (id.substr(2) + ".debug");
  const fs::path real = fs::canonical(app.parent_path());
  const fs::path places[] = {root.string() + real.string() + "/chain_separate.debug",
                             real / ".debug/chain_separate.debug", real / "chain_separate.debug",
                             real / ".debug" / by_id, root / by_id};
  for (const fs::path& place : places) {  // from the last resort to the first choice
    fs::create_directories(place.parent_path());
    fs::copy_file(fixture("chain_separate.debug"), place);
    const auto found = find_debug_file(**file, root);
    ASSERT_NE(found, nullptr) << place;
    EXPECT_EQ(found->path(), place);
  }

  for (const fs::path& place : places) {
    fs::copy_file(fixture("chain_dwarf4"), place, fs::copy_options::overwrite_existing);
  }
  EXPECT_EQ(find_debug_file(**file, root), nullptr) << "another build's debug file was taken";
}

TEST(RangeMap, TheShortestOfOverlappingRangesWins) {
  RangeMap map;
  map.add(10, 50, 1);
  map.add(20, 30, 2);
  map.add(25, 60, 3);
  map.add(70, 80, 5);
  map.add(70, 80, 4);
  map.add(90, 90, 6);
  map.add(95, 94, 7);
  map.seal();
  const auto at = [&](uint64_t address) { return map.find(address).value_or(0); };
  EXPECT_EQ(at(9), 0u);
  EXPECT_EQ(at(10), 1u);
  EXPECT_EQ(at(20), 2u);
  EXPECT_EQ(at(29), 2u);
  EXPECT_EQ(at(30), 3u);
  EXPECT_EQ(at(49), 3u);
  EXPECT_EQ(at(59), 3u);
  EXPECT_EQ(at(60), 0u);
  EXPECT_EQ(at(70), 4u);
  EXPECT_EQ(at(80), 0u);
  EXPECT_EQ(at(90), 0u);
  EXPECT_EQ(at(95), 0u);
}

}  // namespace
}  // namespace asynctrace
