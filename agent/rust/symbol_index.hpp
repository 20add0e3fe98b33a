// Roles of a module's functions by run-time address, from its file's symbol table. Opens files: for start-up
// and for the moment when a library comes; private memory that is given back when it goes out of scope.
#pragma once

#include <cstddef>
#include <cstdint>

#include "agent/modules.hpp"

namespace asynctrace::agent {

class SymbolIndex {
 public:
  // Empty where the file is stripped, names no runtime that we know, or is not the one that was loaded.
  explicit SymbolIndex(const LoadedModule& module);
  ~SymbolIndex();
  SymbolIndex(const SymbolIndex&) = delete;
  SymbolIndex& operator=(const SymbolIndex&) = delete;

  bool empty() const { return count_ == 0; }

  // Bits of Role; 0: nothing of interest.
  uint32_t roles_at(uint64_t address) const;

 private:
  struct Entry {
    uint64_t address;
    uint32_t roles;
  };
  void read(const unsigned char* file, size_t size, uint64_t bias);
  void sort_and_merge();

  Entry* entries_ = nullptr;
  size_t capacity_ = 0;
  size_t count_ = 0;
};

}  // namespace asynctrace::agent
