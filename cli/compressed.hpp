// One zstd frame with size and checksum: bytes in and out. The only user of libzstd.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "cli/mapped_bytes.hpp"

namespace asynctrace {

std::string compress(std::span<const std::byte> bytes, int level);

// Nothing where `bytes` are not exactly one whole frame, its checksum is wrong, or it says that it holds more
// than `max_bytes`. Takes no more memory than the frame says.
std::optional<MappedBytes> decompress(std::span<const std::byte> bytes, uint64_t max_bytes);

}  // namespace asynctrace
