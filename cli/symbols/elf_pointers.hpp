// What the data of an ELF file will hold once it is loaded: the words that point to code, as relocations and
// plain bytes tell. Linux, 64-bit little endian; of anything else there are none. Trusts nothing in the file.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "cli/symbols/elf_file.hpp"

namespace asynctrace {

// Addresses as in the file.
struct CodePointer {
  uint64_t slot = 0;
  uint64_t target = 0;
};

// By slot. Allocates.
std::vector<CodePointer> code_pointers(const ElfFile& file);

// What the file has from `address` on, code or data: at most `size` bytes, none where it has nothing there.
// They live as long as the file.
std::span<const uint8_t> file_bytes(const ElfFile& file, uint64_t address, uint64_t size);

// A word of data as it stands in the file, without relocations; nothing: not in the file.
std::optional<uint64_t> data_word(const ElfFile& file, uint64_t address);

// Where a function goes that is but a jump to another one, as optimizers leave it: no stack ever shows the
// former. Nothing: it is more than that, or of a machine whose code is not known here.
std::optional<uint64_t> jump_target(const ElfFile& file, uint64_t function);

}  // namespace asynctrace
