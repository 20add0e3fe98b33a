// Copies between the memory of another process and ours, all or nothing.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace asynctrace {

// False, with errno: not all of it is there, or the kernel forbids it.
inline bool read_memory(pid_t pid, uint64_t address, std::span<std::byte> into) {
  const iovec local{into.data(), into.size()}, remote{reinterpret_cast<void*>(address), into.size()};
  return ::process_vm_readv(pid, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(into.size());
}

// Only into memory that the process itself may write.
inline bool write_memory(pid_t pid, uint64_t address, std::span<const std::byte> bytes) {
  const iovec local{const_cast<std::byte*>(bytes.data()), bytes.size()},
      remote{reinterpret_cast<void*>(address), bytes.size()};
  return ::process_vm_writev(pid, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(bytes.size());
}

}  // namespace asynctrace
