// The symbol tables of a loaded module, read from its file: .dynsym first, then .symtab. Opens and maps the
// file while it exists; for start-up and for what the program itself asks for.
#pragma once

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "agent/modules.hpp"

namespace asynctrace::agent {

class ElfSymbols {
 public:
  explicit ElfSymbols(const LoadedModule& module);
  ~ElfSymbols();
  ElfSymbols(const ElfSymbols&) = delete;
  ElfSymbols& operator=(const ElfSymbols&) = delete;

  struct Table {
    std::span<const Elf64_Sym> symbols;
    std::span<const char> names;  // zero-terminated

    // Null: it does not lie in the table.
    const char* name(const Elf64_Sym& symbol) const {
      return symbol.st_name < names.size() ? names.data() + symbol.st_name : nullptr;
    }
  };
  // Empty: the file has none.
  std::span<const Table> tables() const { return {tables_, count_}; }

 private:
  void read();

  const unsigned char* file_ = nullptr;
  size_t size_ = 0;
  Table tables_[2];
  size_t count_ = 0;
};

}  // namespace asynctrace::agent
