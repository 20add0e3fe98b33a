// Memory: read-only view of the memory of a process. Never stops it, so two reads are not one instant.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <sys/types.h>

namespace asynctrace {

class Memory {
 public:
  virtual ~Memory() = default;
  // All of `into` or nothing: false where any byte of the range cannot be read.
  virtual bool read(uint64_t address, std::span<std::byte> into) const = 0;

  // A little-endian number of 1 to 8 bytes.
  std::optional<uint64_t> number(uint64_t address, uint64_t size = 8) const;
};

// Of a live process, by process_vm_readv(2): needs the right to ptrace it, but no stop.
class ProcessMemory final : public Memory {
 public:
  explicit ProcessMemory(pid_t pid) : pid_(pid) {}
  bool read(uint64_t address, std::span<std::byte> into) const override;

 private:
  pid_t pid_;
};

}  // namespace asynctrace
