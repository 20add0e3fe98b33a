// What a process has mapped, as /proc/PID/maps or the notes of a core file tell. Plain data.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace asynctrace {

struct Mapping {
  uint64_t start = 0;
  uint64_t end = 0;
  uint64_t offset = 0;  // in the file
  bool readable = false;
  bool writable = false;
  bool executable = false;
  bool shared = false;
  std::string path;    // "[heap]" and the like as the kernel writes them, "" for none
  uint64_t inode = 0;  // of a file
  bool contains(uint64_t address) const { return address >= start && address < end; }
};

// The text of /proc/PID/maps; by address. Lines that make no sense are left out.
std::vector<Mapping> parse_mappings(std::string_view maps);

// The kernel writes a newline in a path as \012 and nothing else escaped.
std::string unescape_newlines(std::string_view path);

}  // namespace asynctrace
