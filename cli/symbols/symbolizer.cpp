#include "cli/symbols/symbolizer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "cli/symbols/debug_file.hpp"
#include "cli/symbols/demangle.hpp"
#include "cli/symbols/dwarf_index.hpp"
#include "cli/symbols/elf_file.hpp"

namespace asynctrace {

namespace {

// One module and all that is known of it; its files are opened when an address first falls into it.
struct LoadedModule {
  Module module;
  bool touched = false;
  ModuleStatus refused;  // why no file of it is used
  std::unique_ptr<ElfFile> file;
  std::unique_ptr<ElfFile> debug_file;
  std::unique_ptr<DwarfIndex> dwarf;  // of either file; ends before them
  // Addresses looked up so far, by the best that was found.
  uint64_t described = 0;  // by debug info
  uint64_t named = 0;      // by a symbol only
  uint64_t nameless = 0;

  void open() {
    touched = true;
    auto opened = ElfFile::open(module.path);
    if (!opened) {
      refused = {MissingReason::kFileGone, fmt::format("{}: {}", module.path, opened.error())};
      return;
    }
    const auto id = (*opened)->build_id();
    if (!module.build_id.empty() && !std::ranges::equal(id, module.build_id)) {
      refused = {MissingReason::kBuildIdDiffers,
                 fmt::format("{}: build-id differs (wants {}, has {})", module.path, hex(module.build_id),
                             id.empty() ? "none" : hex(id))};
      return;
    }
    file = std::move(*opened);
    const auto is_code = [code = file.get()](uint64_t address) { return code->is_code(address); };
    dwarf = DwarfIndex::open(file->handle(), is_code);
    if (dwarf && file->has_symtab()) return;
    debug_file = find_debug_file(*file);
    if (debug_file && !dwarf) dwarf = DwarfIndex::open(debug_file->handle(), is_code);
  }

  ElfFile& symbol_source() { return debug_file && debug_file->has_symtab() ? *debug_file : *file; }

  ModuleStatus status() const {
    if (refused.reason != MissingReason::kNone || !file) return refused;
    // A file of several languages or crates may have debug info for some of its code, and start-up code
    // never has: what most addresses lack is what the module lacks.
    const uint64_t all = described + named + nameless;
    if (nameless > described + named) {
      return {MissingReason::kNoSymbols, fmt::format("{}: {} of {} addresses are in no symbol{}", module.path,
                                                     nameless, all, dwarf ? "" : ", no debug info")};
    }
    if (named + nameless > described) {
      const bool split = dwarf && dwarf->lacks_split_units();
      return {split ? MissingReason::kNoSplitUnits : MissingReason::kNoDebugInfo,
              fmt::format("{}: no debug info for {} of {} addresses{}", module.path, named + nameless, all,
                          split ? ", its .dwo files are missing or packed" : "")};
    }
    return {};
  }
};

}  // namespace

struct Symbolizer::Impl {
  std::vector<LoadedModule> modules;
  std::vector<uint32_t> by_start;  // indexes into `modules`
  std::vector<Frame> frames;
  std::unordered_map<uint64_t, std::vector<uint32_t>> return_addresses;
  std::unordered_map<uint64_t, uint32_t> functions;

  std::optional<uint32_t> module_at(uint64_t address) const {
    const auto next = std::upper_bound(by_start.begin(), by_start.end(), address,
                                       [&](uint64_t a, uint32_t i) { return a < modules[i].module.start; });
    if (next == by_start.begin() || address >= modules[*std::prev(next)].module.end) return std::nullopt;
    return *std::prev(next);
  }

  // `shown` is the address that frames carry, `inside` one within the instruction meant.
  std::vector<Frame> resolve(uint64_t shown, uint64_t inside, bool entry) {
    const auto index = module_at(inside);
    Frame base;
    base.offset = shown;
    if (!index) return {base};
    LoadedModule& module = modules[*index];
    if (!module.touched) module.open();
    base.module = index;
    base.offset -= module.module.bias;
    if (!module.file) return {base};

    const uint64_t address = inside - module.module.bias;
    std::vector<SourceFrame> sources;
    if (module.dwarf) sources = entry ? module.dwarf->function_at(address) : module.dwarf->lookup(address);
    const bool described = !sources.empty();
    if (!described) sources.emplace_back();

    std::vector<Frame> result;
    for (SourceFrame& source : sources) {
      Frame frame = base;
      if (source.name) {
        frame.function = source.name->function;
        frame.raw = source.name->raw;
        frame.debug_name = source.name->debug_name;
      }
      frame.file = std::move(source.file);
      frame.line = source.line;
      frame.column = source.column;
      frame.inlined = source.inlined;
      result.push_back(std::move(frame));
    }
    if (result.back().raw.empty()) add_symbol(module, address, result.back());
    ++(described ? module.described : result.back().raw.empty() ? module.nameless : module.named);
    return result;
  }

  // gcc leaves the linkage name of local functions out of the debug info; the symbol table has it. A name
  // that is not mangled says less than the qualified one.
  static void add_symbol(LoadedModule& module, uint64_t address, Frame& frame) {
    const auto symbol = module.symbol_source().symbol_at(address);
    if (!symbol) return;
    frame.raw = symbol->name;
    std::string name = demangle(frame.raw);
    if (frame.function.empty() || name != frame.raw) frame.function = std::move(name);
  }

  uint32_t add(Frame frame) {
    frames.push_back(std::move(frame));
    return static_cast<uint32_t>(frames.size() - 1);
  }
};

Symbolizer::Symbolizer(std::span<const Module> modules) : impl_(std::make_unique<Impl>()) {
  for (const Module& module : modules) {
    impl_->by_start.push_back(static_cast<uint32_t>(impl_->modules.size()));
    impl_->modules.emplace_back().module = module;
  }
  std::ranges::stable_sort(impl_->by_start, {}, [&](uint32_t i) { return impl_->modules[i].module.start; });
}

Symbolizer::~Symbolizer() = default;

std::span<const uint32_t> Symbolizer::resolve_return_address(uint64_t pc) {
  const auto [entry, added] = impl_->return_addresses.try_emplace(pc);
  if (added) {
    // The call is the instruction before; the one at `pc` may belong to another line or function.
    for (Frame& frame : impl_->resolve(pc, pc - 1, false))
      entry->second.push_back(impl_->add(std::move(frame)));
  }
  return entry->second;
}

uint32_t Symbolizer::resolve_function(uint64_t address) {
  const auto [entry, added] = impl_->functions.try_emplace(address);
  if (added) entry->second = impl_->add(std::move(impl_->resolve(address, address, true).front()));
  return entry->second;
}

const std::vector<Frame>& Symbolizer::frames() const {
  return impl_->frames;
}

ModuleStatus Symbolizer::status(uint32_t index) const {
  return index < impl_->modules.size() ? impl_->modules[index].status() : ModuleStatus{};
}

bool Symbolizer::touched(uint32_t index) const {
  return index < impl_->modules.size() && impl_->modules[index].touched;
}

}  // namespace asynctrace
