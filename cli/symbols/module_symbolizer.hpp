// ModuleSymbolizer: addresses inside one module's file -> frames, each worked out once. Finds its files when
// it is first asked; takes what the cache knows of them and keeps there what was costly. Not thread-safe.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "cli/snapshot.hpp"
#include "cli/symbols/dwarf_index.hpp"
#include "cli/symbols/module_files.hpp"
#include "cli/symbols/symbol_cache.hpp"
#include "cli/symbols/symbol_table.hpp"

namespace asynctrace {

// What the modules of one process share.
struct SymbolSources {
  SymbolOptions options;
  DebugDirectories directories;
  std::unique_ptr<DebuginfodClient> server;
  std::optional<SymbolCache> cache;
};

class ModuleSymbolizer {
 public:
  ModuleSymbolizer(const Module& module, SymbolSources& sources) : module_(module), sources_(sources) {}
  // `packed` is all that is known: no file is looked for.
  ModuleSymbolizer(const Module& module, SymbolSources& sources, const ModuleSymbols& packed)
      : module_(module), sources_(sources), symbols_(packed), packed_(true) {}
  ModuleSymbolizer(ModuleSymbolizer&&) = default;
  // Keeps in the cache what is worth it.
  ~ModuleSymbolizer();

  const Module& module() const { return module_; }
  // Innermost first, without module and offset; never empty.
  std::vector<Frame> frames(Lookup lookup, uint64_t address);
  bool touched() const { return touched_; }
  // What most of the addresses asked for lack.
  ModuleStatus status() const;
  const ModuleSymbols& symbols() const { return symbols_; }

 private:
  void open();
  void open_debug_info();
  SymbolTable::Entry work_out(Lookup lookup, uint64_t address);
  void add_symbol(uint64_t address, Frame& frame) const;

  Module module_;
  SymbolSources& sources_;
  ModuleSymbols symbols_;
  bool packed_ = false;
  bool touched_ = false;
  ModuleFiles files_;
  bool debug_info_opened_ = false;
  std::unique_ptr<DwarfIndex> dwarf_;            // of one of files_; ends before them
  std::chrono::steady_clock::duration spent_{};  // on what the cache did not know
  uint64_t asked_[3] = {};                       // addresses, by Evidence
};

}  // namespace asynctrace
