// Symbols kept by build-id: the same answers, and no trust in the files.
#include "cli/symbols/symbol_cache.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sstream>

#include "test/unit/resolved.hpp"

namespace asynctrace {
namespace {

std::string contents(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

void write(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

class SymbolCacheTest : public testing::Test {
 protected:
  SymbolCacheTest() {
    copy_to(fixture("chain_separate"), scratch.path / "app/chain");
    module = known_module((scratch.path / "app/chain").string());
    options.cache_directory = (scratch.path / "home/.cache/asynctrace").string();
    options.cache_stamp = "1";
    options.cache_from = std::chrono::nanoseconds(0);
    fs::create_directories(scratch.path / "home");
    file = options.cache_directory + '/' + hex(module.build_id) + ".symbols";
  }
  // As they are, but all functions have this name, so that an answer from the cache shows.
  void forge(const std::string& name) {
    DebugDirectories none({}, "/nonexistent");
    const ModuleFiles files = find_module_files(module, {}, none, nullptr);
    ModuleSymbols symbols;
    Frame frame;
    frame.function = name;
    for (const auto& [label, address] : addresses("chain_dwarf5")) {
      symbols.table.add(Lookup::kReturnAddress, address - 1, Evidence::kDebugInfo, {&frame, 1});
      symbols.table.add(Lookup::kEntry, address, Evidence::kDebugInfo, {&frame, 1});
    }
    SymbolCache(options.cache_directory, options.cache_stamp).store(files, symbols);
  }
  bool is_forged() { return resolve_all(module, options).frames.at(0).function == "forged"; }
  void install_debug_file() {
    copy_to(fixture("chain_separate.debug"), scratch.path / "app/chain_separate.debug");
  }

  Scratch scratch;
  Module module;
  SymbolOptions options;
  fs::path file;
};

TEST_F(SymbolCacheTest, TheSecondAnswerIsTheFirst) {
  install_debug_file();
  const Resolved without = resolve_all(module);
  EXPECT_TRUE(resolve_all(module, options) == without);
  struct stat info {};
  ASSERT_EQ(stat(file.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  ASSERT_EQ(stat(options.cache_directory.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  EXPECT_TRUE(resolve_all(module, options) == without);
  EXPECT_TRUE(without.frames.at(0).line != 0);
}

TEST_F(SymbolCacheTest, WhatIsKeptIsUsed) {
  forge("forged");
  EXPECT_TRUE(is_forged());
  EXPECT_FALSE(resolve_all(module).frames.at(0).function == "forged");
}

TEST_F(SymbolCacheTest, NewAddressesAreAdded) {
  const auto at = addresses("chain_dwarf5");
  for (const auto& [label, address] : at) {
    Symbolizer symbols({&module, 1}, options);
    symbols.resolve_return_address(address + kBias);
  }
  DebugDirectories none({}, "/nonexistent");
  const ModuleFiles files = find_module_files(module, {}, none, nullptr);
  const auto kept = SymbolCache(options.cache_directory, "1").load(files);
  ASSERT_TRUE(kept);
  for (const auto& [label, address] : at)
    EXPECT_TRUE(kept->table.find(Lookup::kReturnAddress, address - 1)) << label;
}

TEST_F(SymbolCacheTest, DebugInfoThatIsInstalledLaterIsNoticed) {
  forge("forged");
  install_debug_file();
  EXPECT_FALSE(is_forged());
  EXPECT_EQ(resolve_all(module, options).status.reason, MissingReason::kNone);
  forge("forged");
  ASSERT_TRUE(is_forged());
  fs::last_write_time(scratch.path / "app/chain_separate.debug",
                      fs::file_time_type::clock::now() - std::chrono::hours(1));
  EXPECT_FALSE(is_forged());
}

TEST_F(SymbolCacheTest, AProgramThatChangedIsNoticed) {
  forge("forged");
  copy_to(fixture("chain_symbols_only"), module.path);  // of the same build-id
  EXPECT_FALSE(is_forged());
}

TEST_F(SymbolCacheTest, AnotherVersionOfTheToolStartsAnew) {
  forge("forged");
  options.cache_stamp = "2";
  EXPECT_FALSE(is_forged());
}

TEST_F(SymbolCacheTest, WhatWasQuickIsNotKept) {
  options.cache_from = std::chrono::hours(1);
  resolve_all(module, options);
  EXPECT_FALSE(fs::exists(options.cache_directory));
}

TEST_F(SymbolCacheTest, DamageIsIgnoredAndReplaced) {
  forge("forged");
  const std::string good = contents(file);
  const Resolved without = resolve_all(module);
  const auto load = [&] {
    DebugDirectories none({}, "/nonexistent");
    const auto symbols =
        SymbolCache(options.cache_directory, "1").load(find_module_files(module, {}, none, nullptr));
    ByteWriter out;
    if (symbols) write_module(*symbols, out);
    return out.take();
  };
  const std::string whole = load();
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    write(file, bad);
    const std::string loaded = load();
    EXPECT_TRUE(loaded.empty() || loaded == whole) << i;
  }
  for (size_t size = 0; size < good.size(); size += 7) {
    write(file, good.substr(0, size));
    EXPECT_TRUE(resolve_all(module, options) == without) << size;
    EXPECT_NE(contents(file).size(), size) << "not replaced";
  }
  fs::remove(file);
  fs::create_directory(file);
  EXPECT_TRUE(resolve_all(module, options) == without);
}

TEST_F(SymbolCacheTest, AForeignDirectoryIsNotUsed) {
  forge("forged");
  ASSERT_EQ(chmod(options.cache_directory.c_str(), 0770), 0);
  EXPECT_FALSE(is_forged());
  ASSERT_EQ(chmod(options.cache_directory.c_str(), 0700), 0);
  EXPECT_FALSE(contents(file).find("forged") == std::string::npos && is_forged());
  const std::string link = (scratch.path / "link").string();
  fs::create_directory_symlink(options.cache_directory, link);
  options.cache_directory = link;
  EXPECT_FALSE(is_forged());
  options.cache_directory = (scratch.path / "app/chain/cache").string();
  EXPECT_FALSE(is_forged());
}

TEST_F(SymbolCacheTest, WithoutABuildIdNothingIsKept) {
  const std::string stripped = (scratch.path / "plain").string();
  const std::string command = "objcopy --remove-section=.note.gnu.build-id " + module.path + ' ' + stripped;
  ASSERT_EQ(std::system(command.c_str()), 0);
  module = module_at(stripped);
  resolve_all(module, options);
  EXPECT_FALSE(fs::exists(options.cache_directory));
}

TEST_F(SymbolCacheTest, TheOldestGoWhenItGrows) {
  fs::create_directories(options.cache_directory);
  ASSERT_EQ(chmod(options.cache_directory.c_str(), 0700), 0);
  const auto now = fs::file_time_type::clock::now();
  for (const int age : {3, 1, 2}) {
    const fs::path old = options.cache_directory + "/old" + std::to_string(age);
    write(old, "x");
    fs::resize_file(old, SymbolCache::kMaxBytes / 2 - 4096);  // sparse
    fs::last_write_time(old, now - std::chrono::hours(age));
  }
  resolve_all(module, options);
  EXPECT_FALSE(fs::exists(options.cache_directory + "/old3"));
  EXPECT_TRUE(fs::exists(options.cache_directory + "/old2"));
  EXPECT_TRUE(fs::exists(options.cache_directory + "/old1"));
  EXPECT_TRUE(fs::exists(file));
}

}  // namespace
}  // namespace asynctrace
