// Roles of the executable's functions by run-time address, from its symbol table. Start-up only; private
// memory that is given back when it goes out of scope.
#pragma once

#include <cstddef>
#include <cstdint>

namespace asynctrace::agent {

class SymbolIndex {
 public:
  // Reads /proc/self/exe. Empty where it is stripped or names no runtime that we know.
  explicit SymbolIndex(uint64_t bias);
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
