// SymbolCache: resolved symbols of modules, kept in a directory of the user's: one file a build-id. Whatever
// is wrong with the directory or a file (damaged, cut short, another's, not writable) makes it as if there
// were none; nothing is ever reported. Reads and writes files.
//
//   8 bytes magic with the format's number, then text: what the symbols were worked out by and from (the
//   stamp, the build-id, size and time of the files), then a zstd frame of write_module()
#pragma once

#include <optional>
#include <span>
#include <string>

#include "cli/symbols/module_files.hpp"
#include "cli/symbols/symbol_table.hpp"

namespace asynctrace {

// $XDG_CACHE_HOME/asynctrace, else ~/.cache/asynctrace; "" where neither variable is an absolute path.
std::string default_cache_directory();

class SymbolCache {
 public:
  static constexpr uint64_t kMaxBytes = 256 << 20;  // of all files; the ones not used for longest go

  // `directory` is made (0700) when something is first kept; one that others can write to is not used.
  // What another `stamp` was kept under does not count: the version of the tool, which may know more.
  SymbolCache(std::string directory, std::string stamp)
      : directory_(std::move(directory)), stamp_(std::move(stamp)) {}

  // Nothing for files without a build-id.
  std::optional<ModuleSymbols> load(const ModuleFiles& files) const;
  // Replaces what was kept of that build-id.
  void store(const ModuleFiles& files, const ModuleSymbols& symbols) const;

 private:
  void drop_oldest() const;
  std::string directory_, stamp_;
};

}  // namespace asynctrace
