// symbols_bench FILE ADDRESSES [CACHE_DIRECTORY]: prints the milliseconds in which so many addresses, spread
// evenly over the functions of the file, get their frames. With a directory what was worked out is kept
// there.
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <span>
#include <vector>

#include "cli/symbols/elf_file.hpp"
#include "cli/symbols/symbolizer.hpp"

namespace asynctrace {
namespace {

// Somewhere inside of functions, so that calls were inlined there.
std::vector<uint64_t> spread(ElfFile& file, size_t wanted) {
  std::vector<uint64_t> starts;
  constexpr uint64_t kStep = 16;
  for (uint64_t at = 0, end = file.version().size; at < end; at += kStep) {
    if (!file.is_code(at)) continue;
    const auto symbol = file.symbol_at(at);
    if (symbol && symbol->size > kStep) starts.push_back(at + at % kStep + 5);
  }
  std::vector<uint64_t> chosen;
  for (size_t i = 0; i < wanted && !starts.empty(); ++i) chosen.push_back(starts[i * starts.size() / wanted]);
  return chosen;
}

double milliseconds(const Module& module, const SymbolOptions& options, std::span<const uint64_t> addresses) {
  const auto began = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point answered;
  size_t frames = 0;
  {
    Symbolizer symbols(std::span(&module, 1), options);
    for (const uint64_t address : addresses) frames += symbols.resolve_return_address(address).size();
    answered = std::chrono::steady_clock::now();
  }
  fmt::print("FRAMES {}\n", frames);
  return std::chrono::duration<double, std::milli>(answered - began).count();
}

}  // namespace
}  // namespace asynctrace

int main(int argc, char** argv) {
  using namespace asynctrace;
  if (argc < 3) return 2;
  Module module{argv[1], {}, 0, 0, UINT64_MAX};
  auto file = ElfFile::open(module.path);
  if (!file) return 1;
  module.build_id.assign((*file)->build_id().begin(), (*file)->build_id().end());
  const std::vector<uint64_t> addresses = spread(**file, std::strtoul(argv[2], nullptr, 10));
  if (addresses.empty()) return 1;
  SymbolOptions options;
  if (argc > 3) options.cache_directory = argv[3];
  fmt::print("MS {}\n", milliseconds(module, options, addresses));
  return 0;
}
