// Small system facilities that are safe in any thread and in a signal handler: no allocation, no locks, errno
// is kept.
#pragma once

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

namespace asynctrace::agent {

// What the target sees of errno must not depend on us. For slow paths, which make system calls; a hook that
// runs once for each event has none of its own and needs no keeper.
class ErrnoKeeper {
 public:
  ErrnoKeeper() : saved_(errno) {}
  ~ErrnoKeeper() { errno = saved_; }
  ErrnoKeeper(const ErrnoKeeper&) = delete;
  ErrnoKeeper& operator=(const ErrnoKeeper&) = delete;

 private:
  int saved_;
};

inline uint32_t thread_id() {
  return static_cast<uint32_t>(syscall(SYS_gettid));
}

// Private zeroed address space, backed by memory only where it is touched. Null where the limits of the
// process forbid it.
inline void* reserve_private(size_t size) {
  void* memory =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

template <typename T>
T* reserve_array(size_t count) {
  return static_cast<T*>(reserve_private(count * sizeof(T)));
}

inline constexpr uint64_t round_up(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

}  // namespace asynctrace::agent
