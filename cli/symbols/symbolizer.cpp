#include "cli/symbols/symbolizer.hpp"

#include <algorithm>
#include <unordered_map>

#include "cli/symbols/module_symbolizer.hpp"

namespace asynctrace {

struct Symbolizer::Impl {
  SymbolSources sources;
  std::vector<ModuleSymbolizer> modules;
  std::vector<uint32_t> by_start;  // indexes into `modules`
  std::vector<Frame> frames;
  std::unordered_map<uint64_t, std::vector<uint32_t>> return_addresses;
  std::unordered_map<uint64_t, uint32_t> functions;

  std::optional<uint32_t> module_at(uint64_t address) const {
    const auto next = std::upper_bound(by_start.begin(), by_start.end(), address,
                                       [&](uint64_t a, uint32_t i) { return a < modules[i].module().start; });
    if (next == by_start.begin() || address >= modules[*std::prev(next)].module().end) return std::nullopt;
    return *std::prev(next);
  }

  // `shown` is the address that frames carry, `inside` one within the instruction meant.
  std::vector<Frame> resolve(uint64_t shown, uint64_t inside, Lookup lookup) {
    const auto index = module_at(inside);
    if (!index) {
      std::vector<Frame> unknown(1);
      unknown.front().offset = shown;
      return unknown;
    }
    const uint64_t bias = modules[*index].module().bias;
    std::vector<Frame> found = modules[*index].frames(lookup, inside - bias);
    for (Frame& frame : found) {
      frame.module = index;
      frame.offset = shown - bias;
    }
    return found;
  }

  uint32_t add(Frame frame) {
    frames.push_back(std::move(frame));
    return static_cast<uint32_t>(frames.size() - 1);
  }
};

Symbolizer::Symbolizer(std::span<const Module> modules, const SymbolOptions& options,
                       std::span<const ModuleSymbols> packed)
    : impl_(std::make_unique<Impl>()) {
  SymbolSources& sources = impl_->sources;
  sources.options = options;
  const std::string system_root = options.sysroot + kSystemDebugRoot;
  sources.directories = DebugDirectories(options.debug_dirs, system_root);
  if (!options.cache_directory.empty()) sources.cache.emplace(options.cache_directory, options.cache_stamp);
  impl_->modules.reserve(modules.size());
  for (size_t i = 0; i < modules.size(); ++i) {
    impl_->by_start.push_back(static_cast<uint32_t>(i));
    if (i < packed.size()) {
      impl_->modules.emplace_back(modules[i], sources, packed[i]);
    } else {
      impl_->modules.emplace_back(modules[i], sources);
    }
  }
  std::ranges::stable_sort(impl_->by_start, {}, [&](uint32_t i) { return modules[i].start; });
}

Symbolizer::~Symbolizer() = default;

Result<std::unique_ptr<Symbolizer>> Symbolizer::open(const Snapshot& snapshot, const SymbolOptions& options) {
  auto symbols = std::make_unique<Symbolizer>(snapshot.modules, options, snapshot.symbols);
  if (!options.debuginfod || !snapshot.symbols.empty()) return symbols;
  return DebuginfodClient::open().map([&](std::unique_ptr<DebuginfodClient> server) {
    symbols->impl_->sources.server = std::move(server);
    return std::move(symbols);
  });
}

std::span<const uint32_t> Symbolizer::resolve_return_address(uint64_t pc) {
  const auto [entry, added] = impl_->return_addresses.try_emplace(pc);
  if (added) {
    // The call is the instruction before; the one at `pc` may belong to another line or function.
    for (Frame& frame : impl_->resolve(pc, pc - 1, Lookup::kReturnAddress))
      entry->second.push_back(impl_->add(std::move(frame)));
  }
  return entry->second;
}

void Symbolizer::define(uint64_t address, std::vector<Frame> frames) {
  std::vector<uint32_t>& indexes = impl_->return_addresses[address];
  indexes.clear();
  for (Frame& frame : frames) indexes.push_back(impl_->add(std::move(frame)));
  if (!indexes.empty()) impl_->functions[address - 1] = indexes.back();
}

uint32_t Symbolizer::resolve_function(uint64_t address) {
  const auto [entry, added] = impl_->functions.try_emplace(address);
  if (added) entry->second = impl_->add(std::move(impl_->resolve(address, address, Lookup::kEntry).front()));
  return entry->second;
}

const std::vector<Frame>& Symbolizer::frames() const {
  return impl_->frames;
}

ModuleStatus Symbolizer::status(uint32_t index) const {
  return index < impl_->modules.size() ? impl_->modules[index].status() : ModuleStatus{};
}

bool Symbolizer::touched(uint32_t index) const {
  return index < impl_->modules.size() && impl_->modules[index].touched();
}

ModuleFiles Symbolizer::find_files(uint32_t index) {
  SymbolSources& sources = impl_->sources;
  return find_module_files(impl_->modules.at(index).module(), sources.options, sources.directories,
                           sources.server.get());
}

const ModuleSymbols& Symbolizer::symbols(uint32_t index) const {
  return impl_->modules.at(index).symbols();
}

}  // namespace asynctrace
