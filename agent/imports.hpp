// Import slots: the words of a module's GOT through which it calls functions of others. Any thread; allocates
// nothing. The module must stay loaded meanwhile.
#pragma once

#include <elf.h>

#include "agent/modules.hpp"
#include "agent/patch.hpp"

namespace asynctrace::agent {

// Whether the loader has bound the program's calls to the agent: it was preloaded. False: it was brought in
// later, behind libc. Takes the loader's lock.
bool comes_before_libc();

// Looks up what the agent exports and what each of it stands before. Takes the loader's lock.
void start_imports();

// For a module that the loader bound past the agent: the slots of every function that the agent exports,
// where they lead to the one that it stands before or are not bound yet (lazy binding). What else a slot
// holds stays.
void redirect_imports(const LoadedModule& module, SlotPatcher& patcher);

// Calls `visit(name, slot)` for each function or variable that a module imports and does not define itself.
// By relocation, so no hash table is needed.
template <typename Visit>
void for_each_import(uint64_t bias, const Elf64_Dyn* dynamic, Visit visit) {
  const Elf64_Sym* symbols = nullptr;
  const char* names = nullptr;
  const Elf64_Rela* tables[2] = {};
  size_t sizes[2] = {};
  for (const Elf64_Dyn* entry = dynamic; entry != nullptr && entry->d_tag != DT_NULL; entry++) {
    const auto address = entry->d_un.d_ptr;
    switch (entry->d_tag) {
      case DT_SYMTAB: symbols = reinterpret_cast<const Elf64_Sym*>(address); break;
      case DT_STRTAB: names = reinterpret_cast<const char*>(address); break;
      case DT_RELA: tables[0] = reinterpret_cast<const Elf64_Rela*>(address); break;
      case DT_RELASZ: sizes[0] = entry->d_un.d_val; break;
      case DT_JMPREL: tables[1] = reinterpret_cast<const Elf64_Rela*>(address); break;
      case DT_PLTRELSZ: sizes[1] = entry->d_un.d_val; break;
      default: break;
    }
  }
  // The loader has made them addresses; in what it leaves alone (the vDSO) they are offsets.
  const auto is_address = [&](const void* at) {
    return at != nullptr && reinterpret_cast<uint64_t>(at) >= bias;
  };
  if (!is_address(symbols) || !is_address(names)) return;
  for (int i = 0; i < 2; i++) {
    if (!is_address(tables[i])) continue;
    for (const Elf64_Rela& row : std::span(tables[i], sizes[i] / sizeof(Elf64_Rela))) {
      const uint64_t type = ELF64_R_TYPE(row.r_info);
      const Elf64_Sym& symbol = symbols[ELF64_R_SYM(row.r_info)];
      const bool is_slot = type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT;
      if (is_slot && symbol.st_shndx == SHN_UNDEF)
        visit(names + symbol.st_name, reinterpret_cast<void**>(bias + row.r_offset));
    }
  }
}

}  // namespace asynctrace::agent
