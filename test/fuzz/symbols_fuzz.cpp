// Arbitrary bytes as the file of a module: every address still gives frames. libelf and libdw are not
// instrumented, so of them only crashes and hangs show.
#include <elf.h>

#include <cstring>

#include "cli/symbols/symbolizer.hpp"
#include "test/fuzz/memory_file.hpp"

namespace asynctrace::fuzz {
namespace {

void check_frames(const Symbolizer& symbols, std::span<const uint32_t> frames) {
  require(!frames.empty(), "an address has a frame");
  for (const uint32_t index : frames) require(index < symbols.frames().size(), "frames are numbered");
  require(!symbols.frames()[frames.back()].inlined, "the outermost frame is a function");
}

void resolve(Symbolizer& symbols, uint64_t address) {
  check_frames(symbols, symbols.resolve_return_address(address));
  const uint32_t entry = symbols.resolve_function(address);
  check_frames(symbols, std::span(&entry, 1));
}

}  // namespace
}  // namespace asynctrace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace asynctrace;
  static fuzz::MemoryFile file;
  file.put(data, size);
  const Module module{file.path(), {}, 0, 0, UINT64_MAX};
  Symbolizer symbols(std::span(&module, 1));
  // The code of the inputs stands at the entry point.
  Elf64_Ehdr header{};
  if (size >= sizeof(header)) std::memcpy(&header, data, sizeof(header));
  for (uint64_t i = 0; i < 64; ++i) fuzz::resolve(symbols, header.e_entry + 5 * i);
  for (const uint64_t address : {uint64_t{0}, uint64_t{1}, uint64_t{0x1000}, UINT64_MAX - 1, UINT64_MAX})
    fuzz::resolve(symbols, address);
  symbols.status(0);
  return 0;
}
