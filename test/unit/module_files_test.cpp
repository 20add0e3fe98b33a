// Where the files of a module are found when they are not where the process had them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/resolved.hpp"

namespace asynctrace {
namespace {

class ModuleFilesTest : public testing::Test {
 protected:
  ModuleFilesTest() : expected(resolve_all(module)) {
    module.path = "/nonexistent/chain";
    directory = scratch.path / "debug";
    fs::create_directories(directory);
    options.debug_dirs = {(scratch.path / "empty").string(), directory.string()};
  }
  std::string by_id(const std::string& suffix) const {
    const std::string id = hex(module.build_id);
    return directory.string() + "/.build-id/" + id.substr(0, 2) + '/' + id.substr(2) + suffix;
  }
  // But for the path, all is as where the program is.
  void expect_found() const {
    const Resolved found = resolve_all(module, options);
    EXPECT_EQ(found.frames.size(), expected.frames.size());
    EXPECT_TRUE(found == expected) << found.status.detail;
  }

  Scratch scratch;
  Module module = known_module(fixture("chain_dwarf5"));
  const Resolved expected;
  fs::path directory;
  SymbolOptions options;
};

TEST_F(ModuleFilesTest, NowhereIsSaid) {
  const Resolved found = resolve_all(module, options);
  EXPECT_EQ(found.status.reason, MissingReason::kFileGone);
  EXPECT_EQ(found.status.detail, "/nonexistent/chain: cannot be opened: No such file or directory");
}

TEST_F(ModuleFilesTest, ADebugFileByItsBuildId) {
  copy_to(fixture("chain_separate.debug"), by_id(".debug"));
  expect_found();
}

TEST_F(ModuleFilesTest, AProgramByItsBuildId) {
  copy_to(fixture("chain_dwarf5"), by_id(""));
  expect_found();
}

TEST_F(ModuleFilesTest, AnyFileWithTheBuildId) {
  copy_to(fixture("chain_stripped"), directory / "a");
  copy_to(fixture("chain_dwarf4"), directory / "b");
  copy_to(fixture("chain_separate.debug"), directory / "c");
  expect_found();
}

TEST_F(ModuleFilesTest, AnotherBuildIsRefused) {
  copy_to(fixture("chain_dwarf4"), by_id(".debug"));
  copy_to(fixture("chain_dwarf4"), directory / "chain");
  EXPECT_EQ(resolve_all(module, options).status.reason, MissingReason::kFileGone);

  module.path = fixture("chain_dwarf4");
  const Resolved refused = resolve_all(module, options);
  EXPECT_EQ(refused.status.reason, MissingReason::kBuildIdDiffers);
  EXPECT_THAT(refused.status.detail, testing::HasSubstr("wants " + hex(module.build_id)));
  copy_to(fixture("chain_separate.debug"), by_id(".debug"));
  expect_found();
}

TEST_F(ModuleFilesTest, WithoutABuildIdNothingElseIsTaken) {
  copy_to(fixture("chain_dwarf5"), directory / "chain");
  module.build_id.clear();
  EXPECT_EQ(resolve_all(module, options).status.reason, MissingReason::kFileGone);
}

TEST_F(ModuleFilesTest, WhatTheProgramLacks) {
  module.path = (scratch.path / "chain").string();
  copy_to(fixture("chain_stripped"), module.path);
  EXPECT_EQ(resolve_all(module, options).status.reason, MissingReason::kNoSymbols);
  copy_to(fixture("chain_separate.debug"), directory / "anything");
  expect_found();
}

TEST_F(ModuleFilesTest, PathsLieBelowTheSysroot) {
  options.debug_dirs.clear();
  options.sysroot = (scratch.path / "root").string();
  copy_to(fixture("chain_stripped"), options.sysroot + module.path);
  EXPECT_EQ(resolve_all(module, options).status.reason, MissingReason::kNoSymbols);
  const std::string id = hex(module.build_id);
  copy_to(fixture("chain_separate.debug"), options.sysroot + kSystemDebugRoot + "/.build-id/" +
                                               id.substr(0, 2) + '/' + id.substr(2) + ".debug");
  expect_found();
  fs::remove_all(options.sysroot);
  EXPECT_EQ(resolve_all(module, options).status.detail,
            options.sysroot + "/nonexistent/chain: cannot be opened: No such file or directory");
}

}  // namespace
}  // namespace asynctrace
