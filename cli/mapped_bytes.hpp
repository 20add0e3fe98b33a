// MappedBytes: memory for the contents of a file: the file itself, mapped for reading, or room of its own.
// Pages that nobody touches cost nothing. Owns the mapping.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <utility>

namespace asynctrace {

class MappedBytes {
 public:
  MappedBytes() = default;
  // Nothing, with errno set, where the kernel refuses.
  static std::optional<MappedBytes> of_file(int fd, size_t size);
  static std::optional<MappedBytes> anonymous(size_t size);  // zeros
  MappedBytes(MappedBytes&& other) noexcept
      : bytes_(std::exchange(other.bytes_, {})), is_file_(other.is_file_) {}
  MappedBytes& operator=(MappedBytes&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(is_file_, other.is_file_);
    return *this;
  }
  ~MappedBytes();

  // Of a file: its pages no longer count as ours until they are read again.
  void let_go() const;
  std::span<const std::byte> bytes() const { return bytes_; }
  std::byte* data() { return bytes_.data(); }

 private:
  static std::optional<MappedBytes> map(int fd, size_t size, int protection, int flags);
  std::span<std::byte> bytes_;
  bool is_file_ = false;
};

}  // namespace asynctrace
