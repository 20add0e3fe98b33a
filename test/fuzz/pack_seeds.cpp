// pack_seeds DIR: writes a small packed file and the symbols inside it, the fuzzer's first inputs.
#include <fstream>
#include <string>

#include "cli/compressed.hpp"
#include "cli/pack/pack_format.hpp"
#include "cli/symbols/symbol_table.hpp"
#include "test/unit/segment_image.hpp"

namespace asynctrace::test {
namespace {

std::string symbols_of_shop() {
  ModuleSymbols module;
  module.has_debug_info = true;
  Frame body;
  body.function = "shop::checkout::{async_fn#0}";
  body.raw = "_RNCNvCs_4shop8checkout0";
  body.debug_name = "{async_fn#0}";
  body.file = "/src/shop.rs";
  body.line = 7;
  body.inlined = true;
  Frame poll;
  poll.function = poll.raw = "poll";
  const Frame chain[] = {body, poll};
  module.table.add(Lookup::kReturnAddress, 0x11ff, Evidence::kDebugInfo, chain);
  module.table.add(Lookup::kReturnAddress, 0x12ff, Evidence::kSymbol, {&poll, 1});
  module.table.add(Lookup::kEntry, 0x1100, Evidence::kNothing, {});
  ByteWriter out;
  write_module(module, out);
  return out.take();
}

void write(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace
}  // namespace asynctrace::test

int main(int argc, char** argv) {
  using namespace asynctrace;
  if (argc != 2) return 2;
  const std::string directory = argv[1];
  const std::string symbols = test::symbols_of_shop();
  test::SegmentImage image = test::small_image();
  const std::string packed_segment = compress(image.bytes(), 6);
  const std::string packed_symbols = compress(std::as_bytes(std::span(symbols)), 6);
  pack::Header header{{}, pack::kVersion, 0, packed_segment.size(), packed_symbols.size()};
  std::memcpy(header.magic, pack::kMagic, sizeof(header.magic));
  test::write(directory + "/symbols", symbols);
  test::write(directory + "/packed", std::string(reinterpret_cast<const char*>(&header), sizeof(header)) +
                                         packed_segment + packed_symbols);
  return 0;
}
