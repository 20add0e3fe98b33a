// What the program headers of an ELF file say about how it starts. By libelf; reads the file, trusts none of
// it.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace asynctrace {

struct ElfFacts {
  int bits = 64;
  unsigned machine = 0;               // EM_..
  std::optional<std::string> loader;  // PT_INTERP: absent in static and static-pie programs
  std::vector<std::string> needed;    // DT_NEEDED, in order
};

// Nothing for a file that is not ELF or is damaged.
std::optional<ElfFacts> read_elf_facts(int fd);

// The machine this CLI and its agent are built for: EM_..
unsigned native_machine();
// "x86-64", "32-bit ARM", .. for messages; the bare number where unknown.
std::string architecture_name(const ElfFacts& facts);

}  // namespace asynctrace
