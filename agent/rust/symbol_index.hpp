// Roles of a module's functions by run-time address, from its file's symbol table. In private memory that is
// given back when it goes out of scope.
#pragma once

#include <cstddef>
#include <cstdint>

#include "agent/elf_symbols.hpp"

namespace asynctrace::agent {

class SymbolIndex {
 public:
  enum class Wanted {
    kRuntime,  // only where the names tell of a runtime that we know
    kRust,     // of whatever Rust was linked into
  };
  // Empty where the table is, or is not what is wanted.
  SymbolIndex(const ElfSymbols::Table& table, uint64_t bias, Wanted wanted);
  ~SymbolIndex();
  SymbolIndex(const SymbolIndex&) = delete;
  SymbolIndex& operator=(const SymbolIndex&) = delete;

  bool empty() const { return count_ == 0; }

  // Whether Rust was linked into the program, as far as its symbols tell.
  bool is_rust() const { return is_rust_; }

  // Bits of Role; 0: nothing of interest.
  uint32_t roles_at(uint64_t address) const;

 private:
  struct Entry {
    uint64_t address;
    uint32_t roles;
  };
  void sort_and_merge();

  Entry* entries_ = nullptr;
  size_t capacity_ = 0;
  size_t count_ = 0;
  bool is_rust_ = false;
};

}  // namespace asynctrace::agent
