#include "cli/pack/packed_file.hpp"

#include <cstring>

#include "cli/compressed.hpp"
#include "cli/pack/pack_format.hpp"

namespace asynctrace::pack {
namespace {

struct Parts {
  std::span<const std::byte> segment, symbols;
};

auto damaged() {
  return fail("damaged: it does not hold what was packed", "copy it again, or pack the segment file again");
}

Result<Parts> parts_of(std::span<const std::byte> file) {
  Header header;
  if (file.size() < sizeof(header)) return damaged();
  std::memcpy(&header, file.data(), sizeof(header));
  if (header.version > kVersion)
    return fail("packed by a newer version of asynctrace", "use the asynctrace that packed it");
  const auto rest = file.subspan(sizeof(header));
  if (header.version != kVersion || header.segment_bytes > rest.size() ||
      header.symbols_bytes != rest.size() - header.segment_bytes) {
    return damaged();
  }
  return Parts{rest.first(header.segment_bytes), rest.subspan(header.segment_bytes)};
}

}  // namespace

bool is_packed(std::span<const std::byte> file) {
  return file.size() >= sizeof(kMagic) && std::memcmp(file.data(), kMagic, sizeof(kMagic)) == 0;
}

Result<MappedBytes> unpack_segment(std::span<const std::byte> file) {
  return parts_of(file).and_then([](const Parts& parts) -> Result<MappedBytes> {
    auto bytes = decompress(parts.segment, kMaxSegment);
    if (!bytes) return damaged();
    return std::move(*bytes);
  });
}

Result<std::vector<ModuleSymbols>> unpack_symbols(std::span<const std::byte> file, size_t modules) {
  const auto parts = parts_of(file);
  if (!parts) return tl::unexpected(parts.error());
  const auto bytes = decompress(parts->symbols, kMaxSymbols);
  if (!bytes) return damaged();
  ByteReader in(bytes->bytes());
  std::vector<ModuleSymbols> symbols;
  for (size_t i = 0; i < modules && in.ok(); ++i) symbols.push_back(read_module(in));
  if (!in.ok() || !in.at_end()) return damaged();
  return symbols;
}

}  // namespace asynctrace::pack
