// LoadedFiles: the ELF files that another process has mapped, as of one reading of /proc/PID/maps, and where
// their functions are. Files are opened as the process sees them, and only where they are still the ones that
// are mapped. Reads only; every byte of them is checked by libelf.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "cli/process/mappings.hpp"

namespace asynctrace {

class LoadedFiles {
 public:
  // Nothing: the process is gone, or may not be looked into (errno).
  static std::optional<LoadedFiles> read(pid_t pid);

  const Mapping* mapping_of(uint64_t address) const;
  // The first mapping of the file that an address lies in; null: in none.
  const Mapping* file_of(uint64_t address) const;
  // Of the file whose name is `name`, or begins with it and a version: "libc.so.6", "libc-2.31.so".
  const Mapping* library(std::string_view name) const;
  // Whether an address lies in a file, known by one of its mappings.
  bool is_in(const Mapping& file, uint64_t address) const;
  // Run-time address of a function that the file exports; nothing where it does not, cannot be read, or where
  // its code is not what is there in memory.
  std::optional<uint64_t> function(const Mapping& file, const std::string& name) const;
  // What the process has in a number of 32 bits that the file exports.
  std::optional<uint32_t> number(const Mapping& file, const std::string& name) const;
  // The names of the exported function around an address; none: unknown.
  std::vector<std::string> names_at(uint64_t address) const;
  // The first place of these bytes in the file's code, as it is in memory.
  std::optional<uint64_t> find_code(const Mapping& file, std::string_view bytes) const;

  const std::vector<Mapping>& all() const { return mappings_; }

 private:
  LoadedFiles(pid_t pid, std::vector<Mapping> mappings) : pid_(pid), mappings_(std::move(mappings)) {}
  std::optional<uint64_t> address_of(int fd, const Mapping& file, const std::string& name) const;
  bool has_code_of_file(int fd, uint64_t address) const;
  // A descriptor of the mapped file, -1: it is not to be had.
  int open(const Mapping& file) const;

  pid_t pid_;
  std::vector<Mapping> mappings_;
};

}  // namespace asynctrace
