// DwarfIndex: address inside a file -> chain of source frames, from its DWARF 2 to 5. Not thread-safe.
// Allocates; only units that an address fell into are indexed and kept.
//
// libdw finds the scopes of one address by walking its whole unit each time, and misses inlined calls below
// some lexical blocks. Here the functions of a unit are listed once, and the inlined calls of a function when
// an address first falls into it, level by level.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <libelf.h>

namespace asynctrace {

struct FunctionName {
  std::string function;  // demangled linkage name, else scopes and name: "crate::module::name"; "" if unknown
  std::string raw;       // linkage name; "" if unknown
  std::string debug_name;  // DW_AT_name; "" if unknown
};

struct SourceFrame {
  const FunctionName* name = nullptr;  // owned by the index; null: no function, a line only
  std::string file;
  uint32_t line = 0;    // 0: unknown
  uint32_t column = 0;  // 0: unknown
  bool inlined = false;
};

class DwarfIndex {
 public:
  // `is_code` tells whether an address lies in code of the loaded file: functions which the linker dropped
  // keep their debug info, at addresses near 0. Both must outlive the index. null: no debug info.
  static std::unique_ptr<DwarfIndex> open(Elf* elf, std::function<bool(uint64_t)> is_code);
  ~DwarfIndex();

  // Innermost first; empty: no unit covers the address. The innermost line comes from the line table, the
  // others from the calls that were inlined.
  std::vector<SourceFrame> lookup(uint64_t address);
  // The function around `address`, inlined calls ignored, with the place of its declaration. Empty: unknown.
  std::vector<SourceFrame> function_at(uint64_t address);
  // Some units stand in .dwo files that are not where the compiler put them; their addresses stay unknown.
  bool lacks_split_units() const;

 private:
  struct Impl;
  explicit DwarfIndex(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace asynctrace
