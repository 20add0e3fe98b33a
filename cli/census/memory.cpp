#include "cli/census/memory.hpp"

#include <sys/uio.h>
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace asynctrace {

static_assert(std::endian::native == std::endian::little);

std::optional<uint64_t> Memory::number(uint64_t address, uint64_t size) const {
  uint64_t value = 0;
  if (size == 0 || size > sizeof value) return std::nullopt;
  if (!read(address, std::as_writable_bytes(std::span(&value, 1)).first(size))) return std::nullopt;
  return value;
}

bool ProcessMemory::read(uint64_t address, std::span<std::byte> into) const {
  const iovec local{into.data(), into.size()};
  // An address from damaged memory is refused by the kernel, which never touches it as a pointer of ours.
  const iovec remote{reinterpret_cast<void*>(address), into.size()};  // NOLINT(performance-no-int-to-ptr)
  return ::process_vm_readv(pid_, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(into.size());
}

bool PageCache::read(uint64_t address, std::span<std::byte> into) const {
  while (!into.empty()) {
    const uint64_t offset = address % kPage;
    const auto [entry, is_new] = pages_.try_emplace(address - offset);
    if (is_new) {
      auto page = std::make_unique<Page>();
      if (memory_.read(address - offset, *page)) entry->second = std::move(page);
    }
    if (entry->second == nullptr) return false;
    const size_t size = std::min<size_t>(into.size(), kPage - offset);
    std::memcpy(into.data(), entry->second->data() + offset, size);
    address += size;
    into = into.subspan(size);
  }
  return true;
}

}  // namespace asynctrace
