#include "cli/symbols/module_symbolizer.hpp"

#include <fmt/format.h>

#include "cli/symbols/demangle.hpp"

namespace asynctrace {

ModuleSymbolizer::~ModuleSymbolizer() {
  // What depends on .dwo files cannot be told apart by the module's own files.
  const bool keeps =
      sources_.cache && files_.file && spent_ >= sources_.options.cache_from && !symbols_.lacks_split_units;
  if (keeps) sources_.cache->store(files_, symbols_);
}

void ModuleSymbolizer::open() {
  touched_ = true;
  if (packed_) return;
  files_ = find_module_files(module_, sources_.options, sources_.directories, sources_.server.get());
  symbols_.refused = files_.refused;
  if (!files_.file || !sources_.cache) return;
  if (auto kept = sources_.cache->load(files_)) symbols_ = std::move(*kept);
}

void ModuleSymbolizer::open_debug_info() {
  debug_info_opened_ = true;
  const auto is_code = [code = files_.file.get()](uint64_t address) { return code->is_code(address); };
  dwarf_ = DwarfIndex::open(files_.file->handle(), is_code);
  if (!dwarf_ && files_.debug_file) dwarf_ = DwarfIndex::open(files_.debug_file->handle(), is_code);
  symbols_.has_debug_info = dwarf_ != nullptr;
  symbols_.lacks_split_units = dwarf_ && dwarf_->lacks_split_units();
}

std::vector<Frame> ModuleSymbolizer::frames(Lookup lookup, uint64_t address) {
  if (!touched_) open();
  auto entry = symbols_.table.find(lookup, address);
  if (!entry && files_.file) entry = work_out(lookup, address);
  if (!entry) return std::vector<Frame>(1);
  ++asked_[static_cast<size_t>(entry->found)];
  auto frames = symbols_.table.frames(*entry);
  if (frames.empty()) frames.emplace_back();
  return frames;
}

SymbolTable::Entry ModuleSymbolizer::work_out(Lookup lookup, uint64_t address) {
  const auto began = std::chrono::steady_clock::now();
  if (!debug_info_opened_) open_debug_info();
  std::vector<SourceFrame> sources;
  if (dwarf_) sources = lookup == Lookup::kEntry ? dwarf_->function_at(address) : dwarf_->lookup(address);
  const bool described = !sources.empty();
  if (!described) sources.emplace_back();

  std::vector<Frame> frames;
  for (SourceFrame& source : sources) {
    Frame& frame = frames.emplace_back();
    if (source.name) {
      frame.function = source.name->function;
      frame.raw = source.name->raw;
      frame.debug_name = source.name->debug_name;
    }
    frame.file = std::move(source.file);
    frame.line = source.line;
    frame.column = source.column;
    frame.inlined = source.inlined;
  }
  if (frames.back().raw.empty()) add_symbol(address, frames.back());
  const Evidence found = described                   ? Evidence::kDebugInfo
                         : frames.back().raw.empty() ? Evidence::kNothing
                                                     : Evidence::kSymbol;
  const auto entry = symbols_.table.add(lookup, address, found, frames);
  spent_ += std::chrono::steady_clock::now() - began;
  return entry;
}

// gcc leaves the linkage name of local functions out of the debug info; the symbol table has it. A name that
// is not mangled says less than the qualified one.
void ModuleSymbolizer::add_symbol(uint64_t address, Frame& frame) const {
  const auto symbol = files_.names().symbol_at(address);
  if (!symbol) return;
  frame.raw = symbol->name;
  std::string name = demangle(frame.raw);
  if (frame.function.empty() || name != frame.raw) frame.function = std::move(name);
}

ModuleStatus ModuleSymbolizer::status() const {
  if (symbols_.refused.reason != MissingReason::kNone || !touched_) return symbols_.refused;
  // A file of several languages or crates may have debug info for some of its code, and start-up code never
  // has: what most addresses lack is what the module lacks.
  const auto [nameless, named, described] = asked_;
  const uint64_t all = described + named + nameless;
  if (nameless > described + named) {
    return {MissingReason::kNoSymbols,
            fmt::format("{}: {} of {} addresses are in no symbol{}", module_.path, nameless, all,
                        symbols_.has_debug_info ? "" : ", no debug info")};
  }
  if (named + nameless > described) {
    const bool split = symbols_.lacks_split_units;
    return {split ? MissingReason::kNoSplitUnits : MissingReason::kNoDebugInfo,
            fmt::format("{}: no debug info for {} of {} addresses{}", module_.path, named + nameless, all,
                        split ? ", its .dwo files are missing or packed" : "")};
  }
  return {};
}

}  // namespace asynctrace
