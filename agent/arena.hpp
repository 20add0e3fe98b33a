// Bump allocation in private memory, for things that live as long as the process. Any thread, lock-free.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "agent/platform.hpp"

namespace asynctrace::agent {

class Arena {
 public:
  bool start(size_t size) {
    memory_ = static_cast<char*>(reserve_private(size));
    size_ = memory_ != nullptr ? size : 0;
    return memory_ != nullptr;
  }

  // 8-aligned and zero; null once full.
  template <typename T>
  T* make(size_t count = 1) {
    static_assert(alignof(T) <= 8);
    const size_t bytes = round_up(count * sizeof(T), 8);
    const size_t offset = next_.fetch_add(bytes, std::memory_order_relaxed);
    if (offset + bytes > size_) {
      next_.fetch_sub(bytes, std::memory_order_relaxed);
      return nullptr;
    }
    return reinterpret_cast<T*>(memory_ + offset);
  }

 private:
  char* memory_ = nullptr;
  size_t size_ = 0;
  std::atomic<size_t> next_{0};
};

}  // namespace asynctrace::agent
