// Memory: read-only view of the memory of a process. Never stops it, so two reads are not one instant.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>

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

// What was read once is not read again until it is forgotten: for whoever follows pointers in one place.
class PageCache final : public Memory {
 public:
  explicit PageCache(const Memory& memory) : memory_(memory) {}
  bool read(uint64_t address, std::span<std::byte> into) const override;
  void forget() { pages_.clear(); }

 private:
  static constexpr uint64_t kPage = 4096;
  using Page = std::array<std::byte, kPage>;
  const Memory& memory_;
  mutable std::unordered_map<uint64_t, std::unique_ptr<Page>> pages_;  // null: cannot be read
};

}  // namespace asynctrace
