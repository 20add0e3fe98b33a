#include "cli/mapped_bytes.hpp"

#include <sys/mman.h>

namespace asynctrace {

std::optional<MappedBytes> MappedBytes::map(int fd, size_t size, int protection, int flags) {
  MappedBytes result;
  if (size == 0) return result;
  void* memory = mmap(nullptr, size, protection, flags, fd, 0);
  if (memory == MAP_FAILED) return std::nullopt;
  result.is_file_ = fd >= 0;
  result.bytes_ = {static_cast<std::byte*>(memory), size};
  return result;
}

std::optional<MappedBytes> MappedBytes::of_file(int fd, size_t size) {
  return map(fd, size, PROT_READ, MAP_SHARED);
}

std::optional<MappedBytes> MappedBytes::anonymous(size_t size) {
  return map(-1, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
}

void MappedBytes::let_go() const {
  // Memory of our own would come back as zeros.
  if (is_file_ && !bytes_.empty()) madvise(bytes_.data(), bytes_.size(), MADV_DONTNEED);
}

MappedBytes::~MappedBytes() {
  if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

}  // namespace asynctrace
