// FileDescriptor: owns one descriptor. whole-file helpers for /proc and small files. May block for file
// reads.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include <unistd.h>

namespace asynctrace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

// The first `limit` bytes of a file; nothing, with errno set, where it cannot be opened or read.
std::optional<std::string> read_file(const std::string& path, size_t limit = SIZE_MAX);

}  // namespace asynctrace
