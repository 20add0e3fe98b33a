// A file in memory whose bytes a fuzzer sets, for code that wants a path. Not thread-safe.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace asynctrace::fuzz {

class MemoryFile {
 public:
  MemoryFile() : fd_(memfd_create("fuzzed", MFD_CLOEXEC)) {
    if (fd_ < 0) abort();
  }
  ~MemoryFile() { close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  void put(const uint8_t* data, size_t size) {
    if (ftruncate(fd_, 0) != 0 || pwrite(fd_, data, size, 0) != static_cast<ssize_t>(size)) abort();
  }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

// What must hold for every input; the fuzzer takes the abort for a crash and keeps the input.
inline void require(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "violated: %s\n", what);
  abort();
}

}  // namespace asynctrace::fuzz
