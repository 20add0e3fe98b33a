// The symbol tables of a loaded module, read from its file, which is mapped while this exists. Opens files:
// for start-up, for the moment when a library comes, and for what the program itself asks for.
#pragma once

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "agent/modules.hpp"

namespace asynctrace::agent {

class ElfSymbols {
 public:
  enum class Wanted {
    kLocal,  // .symtab alone. Most files have been stripped of it: they are closed again, not even mapped
    kAll,
  };
  // Empty where the file is not the one that was loaded.
  ElfSymbols(const LoadedModule& module, Wanted wanted);
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
  const Table& exported() const { return exported_; }  // .dynsym
  const Table& local() const { return local_; }        // .symtab

 private:
  void map(int fd, const LoadedModule& module);

  const unsigned char* file_ = nullptr;
  size_t size_ = 0;
  Table exported_, local_;
};

}  // namespace asynctrace::agent
