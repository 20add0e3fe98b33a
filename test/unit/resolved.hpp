// What a symbolizer says of the addresses that a fixture prints, for comparing two ways to the same answer.
#pragma once

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "cli/symbols/debug_file.hpp"
#include "cli/symbols/symbolizer.hpp"
#include "test/unit/fixtures/fixtures.hpp"

namespace asynctrace {

inline auto fields(const Frame& frame) {
  return std::tie(frame.function, frame.raw, frame.debug_name, frame.file, frame.line, frame.column,
                  frame.module, frame.offset, frame.inlined);
}

struct Resolved {
  std::vector<Frame> frames;
  ModuleStatus status;

  bool operator==(const Resolved& other) const {
    return std::ranges::equal(frames, other.frames,
                              [](const Frame& a, const Frame& b) { return fields(a) == fields(b); }) &&
           status.reason == other.status.reason && status.detail == other.status.detail;
  }
};

// Every address of the fixture as return address, then as entry.
inline Resolved resolve_all(Symbolizer& symbols, const std::map<std::string, uint64_t>& at) {
  for (const auto& [label, address] : at) {
    symbols.resolve_return_address(address + kBias);
    symbols.resolve_function(address + kBias);
  }
  return {symbols.frames(), symbols.status(0)};
}

inline Resolved resolve_all(const Module& module, const SymbolOptions& options = {},
                            std::span<const ModuleSymbols> packed = {}) {
  Symbolizer symbols({&module, 1}, options, packed);
  return resolve_all(symbols, addresses("chain_dwarf5"));
}

// With the build-id that it has.
inline Module known_module(const std::string& path) {
  Module module = module_at(path);
  const auto file = ElfFile::open(path);
  if (file) module.build_id.assign((*file)->build_id().begin(), (*file)->build_id().end());
  return module;
}

inline void copy_to(const fs::path& from, const fs::path& to) {
  fs::create_directories(to.parent_path());
  fs::copy_file(from, to, fs::copy_options::overwrite_existing);
}

}  // namespace asynctrace
