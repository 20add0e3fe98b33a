// The packed file: a segment of a dead process with the symbols of its addresses, for reading anywhere. This
// header is the only place that knows its layout.
//
//   +--------+--------------------------------+---------------------------------------------------+
//   | Header | zstd frame: a segment (see     | zstd frame: for each module of the segment that   |
//   |        | common/segment.hpp) cut to the | read_snapshot() gives, in its order, one          |
//   |        | items that were ever used      | write_module() (cli/symbols/symbol_table.hpp)     |
//   +--------+--------------------------------+---------------------------------------------------+
//     32 bytes  segment_bytes                   symbols_bytes
//
// Little endian. Both frames say their size and end in a checksum. The reader believes nothing: sizes are
// limited before memory is taken, and the segment inside is read as any segment.
#pragma once

#include <cstdint>

namespace asynctrace::pack {

inline constexpr char kMagic[8] = {'A', 'T', 'P', 'A', 'C', 'K', '\n', '\x1a'};
inline constexpr uint32_t kVersion = 1;  // raised by any change

// Unpacked, in bytes.
inline constexpr uint64_t kMaxSegment = 2ull << 30;
inline constexpr uint64_t kMaxSymbols = 256ull << 20;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t reserved;
  uint64_t segment_bytes;  // packed
  uint64_t symbols_bytes;
};
static_assert(sizeof(Header) == 32);

}  // namespace asynctrace::pack
