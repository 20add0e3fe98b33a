#include "cli/census/memory.hpp"

#include <sys/uio.h>
#include <array>
#include <bit>

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

}  // namespace asynctrace
