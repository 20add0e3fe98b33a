// TaskTable: task header address -> task slot. Lock-free, fixed size, in private memory. Neighbouring
// addresses share cache lines and pages, so that its cost in memory follows that of the tasks themselves.
#pragma once

#include <atomic>
#include <cstdint>

#include "agent/platform.hpp"
#include "agent/segment_writer.hpp"

namespace asynctrace::agent {

class TaskTable {
 public:
  bool start() {
    entries_ = reserve_array<Entry>(kEntries);
    return entries_ != nullptr;
  }

  // Any thread. kNone: not there.
  uint32_t find(uint64_t header) const {
    for (uint32_t probe = 0, i = home(header); probe < kProbes; probe++, i = (i + 1) & kMask) {
      const uint64_t key = entries_[i].key.load(std::memory_order_acquire);
      if (key == header) return entries_[i].slot.load(std::memory_order_relaxed);
      if (key == kEmpty) break;
    }
    return kNone;
  }

  // Only inside a poll of that task, which excludes a second one, and only when find() has not found it.
  bool insert(uint64_t header, uint32_t slot) {
    for (uint32_t probe = 0, i = home(header); probe < kProbes; probe++, i = (i + 1) & kMask) {
      uint64_t key = entries_[i].key.load(std::memory_order_relaxed);
      if (key != kEmpty && key != kDead) continue;
      if (!entries_[i].key.compare_exchange_strong(key, kBusy, std::memory_order_acquire)) continue;
      entries_[i].slot.store(slot, std::memory_order_relaxed);
      entries_[i].key.store(header, std::memory_order_release);  // acquired in find()
      return true;
    }
    return false;
  }

  // Only by the one thread that ends the task.
  void erase(uint64_t header) {
    for (uint32_t probe = 0, i = home(header); probe < kProbes; probe++, i = (i + 1) & kMask) {
      const uint64_t key = entries_[i].key.load(std::memory_order_relaxed);
      if (key == kEmpty) return;
      if (key != header) continue;
      // Never back to empty: another probe may be on its way past this entry. It is taken again by the next
      // task near here, most often one at this same address.
      entries_[i].key.store(kDead, std::memory_order_release);
      return;
    }
  }

 private:
  static constexpr uint64_t kEmpty = 0;
  static constexpr uint64_t kDead = 1;
  static constexpr uint64_t kBusy = 2;
  static constexpr uint32_t kEntries = 1u << 22;
  static constexpr uint32_t kMask = kEntries - 1;
  static constexpr uint32_t kProbes = 256;

  struct Entry {
    std::atomic<uint64_t> key;
    std::atomic<uint32_t> slot;
  };

  // One entry per 64 bytes of heap, so neighbours stay neighbours; the upper bits are mixed in, because the
  // arenas of malloc all begin at the same offset in their 64 MiB.
  static uint32_t home(uint64_t header) {
    return static_cast<uint32_t>((header >> 6) + ((header >> 26) * 0x9e3779b97f4a7c15ull >> 42)) & kMask;
  }

  Entry* entries_ = nullptr;
};

}  // namespace asynctrace::agent
