// Arbitrary bytes as a packed file, and as the symbols inside one, where checksums would stop most of them:
// whatever is accepted gives frames for every address, and is written as it was read.
#include <cstring>

#include "cli/compressed.hpp"
#include "cli/pack/pack_format.hpp"
#include "cli/read_snapshot.hpp"
#include "cli/symbols/symbolizer.hpp"
#include "cli/tree/report.hpp"
#include "test/fuzz/memory_file.hpp"

namespace asynctrace::fuzz {
namespace {

std::string written(const ModuleSymbols& symbols) {
  ByteWriter out;
  write_module(symbols, out);
  return out.take();
}

ModuleSymbols read(const std::string& bytes) {
  ByteReader in(std::as_bytes(std::span(bytes)));
  ModuleSymbols symbols = read_module(in);
  require(in.ok() && in.at_end(), "what was written can be read");
  return symbols;
}

void look_at_symbols(std::span<const std::byte> bytes) {
  ByteReader in(bytes);
  const ModuleSymbols symbols = read_module(in);
  const std::string once = written(symbols);
  require(written(read(once)) == once, "the same symbols give the same bytes");
  const Module module{"/app", {}, 0, 0, UINT64_MAX};
  Symbolizer symbolizer(std::span(&module, 1), {}, std::span(&symbols, 1));
  for (size_t at = 0; at + 8 <= bytes.size(); at += 4) {
    uint64_t address = 0;
    std::memcpy(&address, bytes.data() + at, sizeof(address));
    for (const uint32_t frame : symbolizer.resolve_return_address(address + 1))
      require(frame < symbolizer.frames().size(), "frames are numbered");
    require(symbolizer.resolve_function(address) < symbolizer.frames().size(), "an entry has a frame");
  }
  symbolizer.status(0);
}

void look_at_file(const std::string& path) {
  const auto snapshot = read_snapshot(path);
  if (!snapshot) return;
  require(snapshot->symbols.empty() || snapshot->symbols.size() == snapshot->modules.size(),
          "each module has its symbols");
  Symbolizer symbols(snapshot->modules, {.sysroot = "/nonexistent"}, snapshot->symbols);
  build_report(*snapshot, symbols);
}

}  // namespace
}  // namespace asynctrace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace asynctrace;
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  constexpr size_t kMagic = sizeof(pack::kMagic);
  if (size < kMagic || std::memcmp(data, pack::kMagic, kMagic) != 0) {
    fuzz::look_at_symbols(bytes);
    return 0;
  }
  static fuzz::MemoryFile file;
  file.put(data, size);
  fuzz::look_at_file(file.path());
  return 0;
}
