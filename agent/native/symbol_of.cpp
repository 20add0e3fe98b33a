#include <stdio.h>
#include <string.h>

#include <algorithm>

#include "agent/elf_symbols.hpp"
#include "agent/modules.hpp"
#include "agent/native/event_hooks.hpp"
#include "agent/platform.hpp"

namespace asynctrace::agent {
namespace {

// The function that covers `address` of the file; null: none.
const char* name_at(const ElfSymbols& symbols, uint64_t address) {
  const char* found = nullptr;
  uint64_t nearest = 0;
  for (const ElfSymbols::Table* table : {&symbols.exported(), &symbols.local()}) {
    for (const Elf64_Sym& symbol : table->symbols) {
      if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_shndx == SHN_UNDEF) continue;
      if (address - symbol.st_value >= symbol.st_size || symbol.st_value < nearest) continue;
      if (const char* name = table->name(symbol)) found = name, nearest = symbol.st_value;
    }
  }
  return found;
}

}  // namespace

size_t native_symbol(const void* pc, char* text, size_t size) {
  const ErrnoKeeper errno_keeper;
  // The call stands before its return address, which may belong to the next function.
  const uint64_t address = reinterpret_cast<uint64_t>(pc) - 1;
  const LoadedModule* module = find_module(address);
  int length = 0;
  if (module == nullptr) {
    length = snprintf(text, size, "0x%lx", address + 1);
  } else {
    const ElfSymbols symbols(*module, ElfSymbols::Wanted::kAll);
    if (const char* name = name_at(symbols, address - module->bias)) {
      length = snprintf(text, size, "%s", name);
    } else {
      const char* slash = strrchr(module->path, '/');
      const char* file = slash != nullptr ? slash + 1 : module->path[0] != '\0' ? module->path : "executable";
      length = snprintf(text, size, "%s+0x%lx", file, address + 1 - module->bias);
    }
  }
  return size == 0 ? 0 : std::min(static_cast<size_t>(std::max(length, 0)), size - 1);
}

}  // namespace asynctrace::agent
