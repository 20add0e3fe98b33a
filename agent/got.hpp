// How a loaded module's calls reach other modules: its slots for imported functions (GOT), and what it
// exports. Reads the module's own dynamic section in memory; takes no lock, opens nothing. The module must
// stay loaded meanwhile.
#pragma once

#include <elf.h>

#include <cstdint>
#include <span>

#include "agent/modules.hpp"

namespace asynctrace::agent {

// What of it is of use here, as addresses; null, 0 or empty: it has none.
struct DynamicSection {
  uint64_t bias = 0;
  const char* strings = nullptr;
  uint64_t strings_size = 0;
  const Elf64_Sym* symbols = nullptr;
  const uint32_t* hash = nullptr;  // DT_HASH: its second word is the number of symbols
  const uint32_t* gnu_hash = nullptr;
  std::span<const Elf64_Rela> relocations[2];  // for data and for calls
  uint64_t soname = 0;

  const char* name_of(const Elf64_Sym& symbol) const {
    return symbol.st_name < strings_size ? strings + symbol.st_name : "";
  }
};

DynamicSection read_dynamic(uint64_t bias, const Elf64_Dyn* entry);
DynamicSection read_dynamic(const LoadedModule& module);

// "" where it has none.
const char* soname(const LoadedModule& module);

// What it defines under this name, of this type (STT_FUNC, STT_OBJECT); null: nothing.
const Elf64_Sym* exported_symbol(const LoadedModule& module, const char* name, unsigned char type);

// Run-time address of the function that it defines under this name; 0: none, or one that is chosen at run
// time.
uint64_t exported_function(const LoadedModule& module, const char* name);
uint64_t exported_variable(const LoadedModule& module, const char* name);

struct Import {
  const char* name;
  void** slot;
  bool is_own;    // it defines the symbol itself, but another module may stand before it
  bool is_call;   // bound at its first call, perhaps: until then the slot leads back into the module itself
  bool is_plain;  // a pointer among its data, as in a table of functions
};

// Calls `visit(Import)` for every slot that holds the address of a function or variable known by its name.
template <typename Visit>
void for_each_import(const DynamicSection& dynamic, Visit visit) {
  if (dynamic.strings == nullptr || dynamic.symbols == nullptr) return;
  for (const auto& rows : dynamic.relocations) {
    for (const Elf64_Rela& row : rows) {
      const auto type = ELF64_R_TYPE(row.r_info);
      const bool is_plain = type == R_X86_64_64 && row.r_addend == 0;
      if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT && !is_plain) continue;
      const Elf64_Sym& symbol = dynamic.symbols[ELF64_R_SYM(row.r_info)];
      visit(Import{dynamic.name_of(symbol), reinterpret_cast<void**>(dynamic.bias + row.r_offset),
                   symbol.st_shndx != SHN_UNDEF, type == R_X86_64_JUMP_SLOT, is_plain});
    }
  }
}

}  // namespace asynctrace::agent
