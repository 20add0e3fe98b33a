#include "cli/compressed.hpp"

#include <zstd.h>

#include <memory>
#include <new>

namespace asynctrace {

std::string compress(std::span<const std::byte> bytes, int level) {
  const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(), &ZSTD_freeCCtx);
  if (!context) throw std::bad_alloc();
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  const size_t size = ZSTD_compress2(context.get(), out.data(), out.size(), bytes.data(), bytes.size());
  if (ZSTD_isError(size) != 0) throw std::bad_alloc();  // there is room, so this is all it can lack
  out.resize(size);
  return out;
}

std::optional<MappedBytes> decompress(std::span<const std::byte> bytes, uint64_t max_bytes) {
  const unsigned long long size = ZSTD_getFrameContentSize(bytes.data(), bytes.size());
  if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR || size > max_bytes) return {};
  if (ZSTD_findFrameCompressedSize(bytes.data(), bytes.size()) != bytes.size()) return {};
  auto out = MappedBytes::anonymous(size);
  if (!out || ZSTD_decompress(out->data(), size, bytes.data(), bytes.size()) != size) return {};
  return out;
}

}  // namespace asynctrace
