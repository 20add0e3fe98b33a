// SymbolTable: addresses of one file -> their source frames, as plain data that can be kept: in the cache and
// in packed files. Texts and frames stand in it once each. Allocates; not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "cli/symbols/bytes.hpp"
#include "cli/symbols/frame.hpp"

namespace asynctrace {

// What is asked of an address, as in FrameSource.
enum class Lookup : uint32_t { kReturnAddress, kEntry };
// The best that tells of an address.
enum class Evidence : uint32_t { kNothing, kSymbol, kDebugInfo };

class SymbolTable {
 public:
  struct Entry {
    uint32_t first = 0;  // index into the chains
    uint32_t count = 0;
    Evidence found = Evidence::kNothing;
  };

  std::optional<Entry> find(Lookup lookup, uint64_t address) const;
  // Of the frames everything but module and offset is kept.
  Entry add(Lookup lookup, uint64_t address, Evidence found, std::span<const Frame> frames);
  // Innermost first.
  std::vector<Frame> frames(const Entry& entry) const;

  // The same addresses give the same bytes, in whatever order they were added.
  void write(ByteWriter& out) const;
  // Not ok() afterwards: the bytes are no table, or one that would take more memory than any honest one.
  static SymbolTable read(ByteReader& in);

 private:
  struct Record {
    uint32_t function, raw, debug_name, file;  // indexes into texts_
    uint32_t line, column, inlined;
    bool operator==(const Record&) const = default;
  };
  struct RecordHash {
    size_t operator()(const Record& record) const;
  };
  uint32_t intern(const std::string& text);
  bool holds_together() const;
  std::unordered_map<uint64_t, Entry>& entries(Lookup lookup) {
    return entries_[static_cast<size_t>(lookup)];
  }

  std::vector<std::string> texts_;
  std::vector<Record> records_;
  std::vector<uint32_t> chains_;  // indexes into records_
  std::unordered_map<uint64_t, Entry> entries_[2];
  // Made when the first frame is added: a table that is only read does without.
  std::unordered_map<std::string, uint32_t> text_numbers_;
  std::unordered_map<Record, uint32_t, RecordHash> record_numbers_;
};

// What is kept of a module.
struct ModuleSymbols {
  ModuleStatus refused;  // why no file of it was used
  bool has_debug_info = false;
  bool lacks_split_units = false;
  SymbolTable table;
};
void write_module(const ModuleSymbols& module, ByteWriter& out);
ModuleSymbols read_module(ByteReader& in);

}  // namespace asynctrace
