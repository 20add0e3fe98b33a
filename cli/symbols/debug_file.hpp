// Separate debug files: where a distribution, `objcopy --only-keep-debug` or the user put what belongs to a
// build-id. Reads the file system; never asks a server.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/symbols/elf_file.hpp"

namespace asynctrace {

inline constexpr const char* kSystemDebugRoot = "/usr/lib/debug";

class DebugDirectories {
 public:
  // `given`: directories with files of any build; `system_root` is laid out as /usr/lib/debug.
  explicit DebugDirectories(std::vector<std::string> given = {}, std::string system_root = kSystemDebugRoot);

  // A file of that build in the given directories: .build-id/xx/yyy.debug, .build-id/xx/yyy, or any file in
  // the directory itself. null: none.
  std::unique_ptr<ElfFile> find(std::span<const uint8_t> build_id);

  // What `file` may lack. .build-id/xx/yyy.debug under the system's root and in .debug/ beside the file, then
  // .gnu_debuglink beside the file, in .debug/ and under the root; before them the given directories. Only a
  // file with the same build-id is taken: without one nothing proves that the two belong together. null:
  // none.
  std::unique_ptr<ElfFile> find_debug_file(const ElfFile& file);

 private:
  struct Plain {
    std::vector<uint8_t> build_id;
    std::string path;
  };
  const std::vector<Plain>& plain_files();

  std::vector<std::string> given_;
  std::string system_root_;
  std::optional<std::vector<Plain>> plain_;  // of the given directories, listed when first needed
};

// The same without given directories.
std::unique_ptr<ElfFile> find_debug_file(const ElfFile& file, const std::string& root = kSystemDebugRoot);

std::string hex(std::span<const uint8_t> build_id);

}  // namespace asynctrace
