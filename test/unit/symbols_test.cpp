// The symbolizer against programs that tell where their own calls return to (fixtures/), in every form of
// debug info, against files it must refuse, and against damaged ones.
#include "cli/symbols/symbolizer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <sstream>

#include "cli/symbols/debug_file.hpp"
#include "cli/symbols/elf_file.hpp"
#include "test/unit/fixtures/fixtures.hpp"

namespace asynctrace {
namespace {

using testing::HasSubstr;

std::vector<Frame> resolve(const Module& module, uint64_t file_address) {
  Symbolizer symbolizer({&module, 1});
  std::vector<Frame> frames;
  for (uint32_t index : symbolizer.resolve_return_address(file_address + module.bias)) {
    frames.push_back(symbolizer.frames()[index]);
  }
  return frames;
}

ModuleStatus status_after(const Module& module, const std::vector<uint64_t>& file_addresses) {
  Symbolizer symbolizer({&module, 1});
  for (uint64_t address : file_addresses) symbolizer.resolve_return_address(address + module.bias);
  return symbolizer.status(0);
}

void expect_at(const Frame& frame, const Place& place) {
  EXPECT_EQ(fs::path(frame.file).lexically_normal(), fs::path(place.file).lexically_normal());
  EXPECT_TRUE(fs::path(frame.file).is_absolute()) << frame.file;
  EXPECT_EQ(frame.line, place.line);
  EXPECT_GE(frame.column, place.first_column);
  EXPECT_LE(frame.column, place.last_column);
}

class EveryForm : public testing::TestWithParam<const char*> {};

TEST_P(EveryForm, InlinedCallsAreExpandedInnermostFirst) {
  const auto at = addresses(GetParam());
  const auto frames = resolve(module_at(fixture(GetParam())), at.at("inlined"));
  ASSERT_EQ(frames.size(), 3u);
  EXPECT_EQ(frames[0].function, "chain::Pipe<int>::inner(int)");
  EXPECT_EQ(frames[0].debug_name, "inner");
  EXPECT_EQ(frames[1].function, "chain::middle(int)");
  EXPECT_EQ(frames[2].function, "chain::outer(int)");
  EXPECT_EQ(frames[2].raw, "_ZN5chain5outerEi");
  expect_at(frames[0], marked("chain.cpp", "inner"));
  expect_at(frames[1], marked("chain.cpp", "middle"));
  expect_at(frames[2], marked("chain.cpp", "outer"));
  EXPECT_TRUE(frames[0].inlined);
  EXPECT_TRUE(frames[1].inlined);
  EXPECT_FALSE(frames[2].inlined);
  for (const Frame& frame : frames) {
    EXPECT_EQ(frame.module, 0u);
    EXPECT_EQ(frame.offset, at.at("inlined"));
  }
}

TEST_P(EveryForm, LocalAndNestedFunctionsHaveNames) {
  const auto at = addresses(GetParam());
  const auto local = resolve(module_at(fixture(GetParam())), at.at("local"));
  ASSERT_EQ(local.size(), 1u);
  EXPECT_EQ(local[0].function, "chain::(anonymous namespace)::local(int)");
  EXPECT_EQ(local[0].debug_name, "local");
  expect_at(local[0], marked("chain.cpp", "local"));

  const auto nested = resolve(module_at(fixture(GetParam())), at.at("nested"));
  ASSERT_EQ(nested.size(), 1u);
  EXPECT_EQ(nested[0].debug_name, "member");
  EXPECT_THAT(nested[0].function, HasSubstr("Inside::member"));
  expect_at(nested[0], marked("chain.cpp", "nested"));
}

TEST_P(EveryForm, AnInlinedLocalFunctionIsQualified) {
  const auto frames = resolve(module_at(fixture(GetParam())), addresses(GetParam()).at("hidden"));
  ASSERT_EQ(frames.size(), 2u);
  // gcc gives it no linkage name, so that its parameters are unknown.
  EXPECT_THAT(frames[0].function, testing::StartsWith("chain::(anonymous namespace)::hidden"));
  EXPECT_TRUE(frames[0].raw.empty() || frames[0].function.ends_with("hidden(int)"));
  EXPECT_EQ(frames[0].debug_name, "hidden");
  expect_at(frames[0], marked("chain.cpp", "hidden"));
  expect_at(frames[1], marked("chain.cpp", "shown"));
}

TEST_P(EveryForm, AnEntryIsOneFrameAtItsDeclaration) {
  const auto at = addresses(GetParam());
  const Module module = module_at(fixture(GetParam()));
  Symbolizer symbolizer({&module, 1});
  const Frame& frame = symbolizer.frames()[symbolizer.resolve_function(at.at("entry") + kBias)];
  EXPECT_EQ(frame.debug_name, "local");
  EXPECT_FALSE(frame.inlined);
  EXPECT_EQ(frame.offset, at.at("entry"));
  EXPECT_EQ(frame.line, marked("chain.cpp", "local entry").line);
  EXPECT_EQ(fs::path(frame.file).filename(), "chain.cpp");
  EXPECT_EQ(symbolizer.status(0).reason, MissingReason::kNone);
}

INSTANTIATE_TEST_SUITE_P(Symbols, EveryForm,
                         testing::Values("chain_dwarf5", "chain_dwarf4", "chain_compressed", "chain_split",
                                         "chain_no_aranges", "chain_separate"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Symbols, CFunctionsAreTheirOwnLinkageNames) {
  const auto frames = resolve(module_at(fixture("plain_c")), addresses("plain_c").at("inlined"));
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(frames[0].function, "folded");
  EXPECT_EQ(frames[0].raw, "folded");
  EXPECT_EQ(frames[1].function, "around");
  expect_at(frames[0], marked("plain.c", "folded"));
  expect_at(frames[1], marked("plain.c", "around"));
}

TEST(Symbols, DebugInfoOfDroppedFunctionsNeverGivesAWrongLine) {
  const auto at = addresses("chain_dropped");
  const Module module = module_at(fixture("chain_dropped"));
  const auto frames = resolve(module, at.at("inlined"));
  ASSERT_EQ(frames.size(), 3u);
  EXPECT_EQ(frames[0].function, "chain::Pipe<int>::inner(int)");
  EXPECT_THAT(frames[0].line, testing::AnyOf(0u, marked("chain.cpp", "inner").line));
  expect_at(frames[2], marked("chain.cpp", "outer"));
}

TEST(Symbols, ASymbolTableAloneGivesOneNamedFrame) {
  const auto at = addresses("chain_symbols_only");
  const Module module = module_at(fixture("chain_symbols_only"));
  const auto frames = resolve(module, at.at("inlined"));
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].function, "chain::outer(int)");
  EXPECT_EQ(frames[0].raw, "_ZN5chain5outerEi");
  EXPECT_EQ(frames[0].debug_name, "");
  EXPECT_EQ(frames[0].file, "");
  EXPECT_EQ(frames[0].line, 0u);
  const auto status = status_after(module, {at.at("inlined"), at.at("local")});
  EXPECT_EQ(status.reason, MissingReason::kNoDebugInfo);
  EXPECT_EQ(status.detail, module.path + ": no debug info for 2 of 2 addresses");
}

TEST(Symbols, WithoutItsSplitUnitsALineIsNotGuessed) {
  const Scratch scratch;  // libdw looks beside the program, too
  const uint64_t address = addresses("chain_split_lost").at("inlined");
  fs::copy_file(fixture("chain_split_lost"), scratch.path / "chain");
  const Module module = module_at(scratch.path / "chain");
  const auto frames = resolve(module, address);
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].function, "chain::outer(int)");
  EXPECT_EQ(frames[0].line, 0u);
  const auto status = status_after(module, {address});
  EXPECT_EQ(status.reason, MissingReason::kNoSplitUnits);
  EXPECT_EQ(status.detail,
            module.path + ": no debug info for 1 of 1 addresses, its .dwo files are missing or packed");
}

TEST(Symbols, AStrippedFileSaysSo) {
  const auto at = addresses("chain_stripped");
  const Module module = module_at(fixture("chain_stripped"));
  const auto frames = resolve(module, at.at("inlined"));
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].function, "");
  EXPECT_EQ(frames[0].module, 0u);
  EXPECT_EQ(frames[0].offset, at.at("inlined"));
  EXPECT_EQ(status_after(module, {at.at("inlined")}).reason, MissingReason::kNoSymbols);
}

TEST(Symbols, AnotherBuildIsRefused) {
  Module module = module_at(fixture("chain_dwarf5"));
  auto file = ElfFile::open(module.path);
  ASSERT_TRUE(file.has_value()) << file.error();
  const std::vector<uint8_t> id((*file)->build_id().begin(), (*file)->build_id().end());
  ASSERT_EQ(id.size(), 20u);
  const uint64_t address = addresses("chain_dwarf5").at("inlined");

  module.build_id = id;
  EXPECT_EQ(resolve(module, address).size(), 3u);

  module.build_id[0] ^= 1;
  const auto frames = resolve(module, address);
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].function, "");
  EXPECT_EQ(frames[0].offset, address);
  const auto status = status_after(module, {address});
  EXPECT_EQ(status.reason, MissingReason::kBuildIdDiffers);
  EXPECT_EQ(status.detail,
            module.path + ": build-id differs (wants " + hex(module.build_id) + ", has " + hex(id) + ")");
}

TEST(Symbols, AMissingFileSaysWhy) {
  const Module module = module_at("/nonexistent/app");
  EXPECT_EQ(resolve(module, 0x1234).size(), 1u);
  const auto status = status_after(module, {0x1234});
  EXPECT_EQ(status.reason, MissingReason::kFileGone);
  EXPECT_EQ(status.detail, "/nonexistent/app: cannot be opened: No such file or directory");
  EXPECT_EQ(status_after(module_at("/dev/zero"), {0x1234}).detail, "/dev/zero: is not a regular file");
}

TEST(Symbols, AnAddressBelongsToTheModuleOfTheCall) {
  const std::vector<Module> modules = {module_at("/nonexistent/b", kBias + kSize),
                                       module_at("/nonexistent/a", kBias)};
  Symbolizer symbolizer(modules);
  const auto module_of = [&](uint64_t pc) {
    return symbolizer.frames()[symbolizer.resolve_return_address(pc)[0]].module;
  };
  EXPECT_EQ(module_of(kBias), std::nullopt);
  EXPECT_FALSE(symbolizer.touched(0));
  EXPECT_EQ(module_of(kBias + 1), 1u);
  EXPECT_FALSE(symbolizer.touched(0));
  EXPECT_EQ(module_of(kBias + kSize), 1u);
  EXPECT_EQ(module_of(kBias + kSize + 1), 0u);
  EXPECT_TRUE(symbolizer.touched(0));
  EXPECT_EQ(module_of(kBias + 2 * kSize + 1), std::nullopt);
  EXPECT_EQ(module_of(0), std::nullopt);
  EXPECT_EQ(symbolizer.frames().back().offset, 0u);
}

TEST(Symbols, EachAddressIsResolvedOnce) {
  const Module module = module_at(fixture("chain_dwarf5"));
  Symbolizer symbolizer({&module, 1});
  const uint64_t pc = addresses("chain_dwarf5").at("inlined") + kBias;
  const auto first = symbolizer.resolve_return_address(pc);
  const size_t count = symbolizer.frames().size();
  const auto second = symbolizer.resolve_return_address(pc);
  EXPECT_EQ(first.data(), second.data());
  EXPECT_EQ(symbolizer.frames().size(), count);
}

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// Whatever the bytes, an address gives at least one frame, and the same ones again.
void expect_survives(const std::string& path, const std::string& bytes, uint64_t address) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  const Module module = module_at(path);
  Symbolizer symbolizer({&module, 1});
  EXPECT_GE(symbolizer.resolve_return_address(address + kBias).size(), 1u);
  for (uint64_t at = 0; at < 0x3000; at += 61) symbolizer.resolve_return_address(at + kBias);
  symbolizer.resolve_function(address + kBias);
  EXPECT_TRUE(symbolizer.touched(0));
  symbolizer.status(0);
}

TEST(Symbols, TruncatedFilesDoNoHarm) {
  const Scratch scratch;
  const std::string whole = contents(fixture("chain_dwarf5"));
  const uint64_t address = addresses("chain_dwarf5").at("inlined");
  for (int i = 0; i < 64; ++i) {
    expect_survives(scratch.path / "cut", whole.substr(0, whole.size() * i / 64), address);
  }
}

TEST(Symbols, RandomBytesDoNoHarm) {
  const Scratch scratch;
  const std::string whole = contents(fixture("chain_dwarf5"));
  const uint64_t address = addresses("chain_dwarf5").at("inlined");
  std::mt19937 random(1);
  for (int i = 0; i < 32; ++i) {
    std::string noise = whole.substr(0, i % 2 ? 64 : 0);  // with and without a valid ELF header
    while (noise.size() < 8192) noise += static_cast<char>(random());
    expect_survives(scratch.path / "noise", noise, address);
  }
  for (int i = 0; i < 64; ++i) {
    std::string damaged = whole;
    for (int k = 0; k < 40; ++k) damaged[random() % damaged.size()] = static_cast<char>(random());
    expect_survives(scratch.path / "damaged", damaged, address);
  }
}

}  // namespace
}  // namespace asynctrace
