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
    entries_ = reserve_array<std::atomic<uint32_t>>(kEntries);
    return entries_ != nullptr;
  }

  // Any thread. kNone: not there. An entry knows a few bits of its address: `is_it(slot)` says whether a slot
  // is this header's.
  template <typename IsIt>
  uint32_t find(uint64_t header, IsIt is_it) const {
    for (uint32_t probe = 0; probe < kProbes; probe++) {
      const uint32_t entry = entries_[place(header, probe)].load(std::memory_order_acquire);
      if (entry == kEmpty) break;
      if (entry != kDead && tag_of(entry) == tag(header) && is_it(slot_of(entry))) return slot_of(entry);
    }
    return kNone;
  }

  // Only inside a poll of that task, which excludes a second one, and only when find() has not found it.
  bool insert(uint64_t header, uint32_t slot) {
    if (slot >= kMaxSlots) return false;
    for (uint32_t probe = 0; probe < kProbes; probe++) {
      std::atomic<uint32_t>& entry = entries_[place(header, probe)];
      uint32_t seen = entry.load(std::memory_order_relaxed);
      if (seen != kEmpty && seen != kDead) continue;
      if (entry.compare_exchange_strong(seen, pack(header, slot), std::memory_order_release)) return true;
    }
    return false;
  }

  // Only by the one thread that ends the task.
  void erase(uint64_t header, uint32_t slot) {
    for (uint32_t probe = 0; probe < kProbes; probe++) {
      std::atomic<uint32_t>& entry = entries_[place(header, probe)];
      const uint32_t seen = entry.load(std::memory_order_relaxed);
      if (seen == kEmpty) return;
      if (seen != pack(header, slot)) continue;
      // Never back to empty: another probe may be on its way past this entry. It is taken again by the next
      // task near here, most often one at this same address.
      entry.store(kDead, std::memory_order_release);
      return;
    }
  }

 private:
  // An entry is slot + 1 and a tag of the header.
  static constexpr uint32_t kTagBits = 9;
  static constexpr uint32_t kTagMask = (1u << kTagBits) - 1;
  static constexpr uint32_t kEmpty = 0;
  static constexpr uint32_t kDead = 1;
  static constexpr uint32_t kEntries = 1u << 22;
  static constexpr uint32_t kMask = kEntries - 1;
  static constexpr uint32_t kMaxSlots = (1u << (32 - kTagBits)) - 1;
  static_assert(kMaxSlots > kEntries);
  static constexpr uint32_t kWindow = 32;
  static constexpr uint32_t kProbes = 8 * kWindow;

  // malloc aligns to 16. These bits tell all neighbours apart that share a window.
  static uint32_t tag(uint64_t header) { return static_cast<uint32_t>(header >> 4) & kTagMask; }
  static uint32_t tag_of(uint32_t entry) { return entry & kTagMask; }
  static uint32_t pack(uint64_t header, uint32_t slot) { return (slot + 1) << kTagBits | tag(header); }
  static uint32_t slot_of(uint32_t entry) { return (entry >> kTagBits) - 1; }

  // The first window: one entry per 128 bytes of heap, so neighbours stay neighbours; the upper bits are
  // mixed in, because the arenas of malloc all begin at the same offset in their 64 MiB. Where smaller tasks
  // crowd, the rest goes to windows anywhere.
  static uint32_t place(uint64_t header, uint32_t probe) {
    constexpr uint64_t kMixer = 0x9e3779b97f4a7c15ull;
    const uint32_t window = probe / kWindow;
    const uint64_t home = window == 0 ? (header >> 7) + ((header >> 26) * kMixer >> 42)
                                      : ((header >> 4) + window) * kMixer >> 42;
    return static_cast<uint32_t>(home + probe % kWindow) & kMask;
  }

  std::atomic<uint32_t>* entries_ = nullptr;
};

}  // namespace asynctrace::agent
