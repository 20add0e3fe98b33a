// IndexPool: hands out the item numbers of a segment section, with a cache per thread. Lock-free; take() and
// give() are a few instructions while the cache has room. Records are freed on other threads than took them,
// so full caches hand batches to a shared stack, from which empty ones refill.
#pragma once

#include <atomic>
#include <cstdint>

#include "agent/platform.hpp"
#include "agent/segment_writer.hpp"

namespace asynctrace::agent {

// A thread's own stock. Touched only by its thread, and not from a signal handler that interrupted a hook.
struct IndexCache {
  static constexpr uint32_t kCapacity = 64;
  uint32_t count;
  uint32_t items[kCapacity];
};

class IndexPool {
 public:
  // False where the address space is not to be had.
  bool start(SegmentWriter& writer, segment::SectionId section) {
    writer_ = &writer;
    section_ = section;
    links_ = reserve_array<Link>(writer.capacity(section));
    head_.store(0, std::memory_order_relaxed);
    return links_ != nullptr;
  }

  uint32_t take(IndexCache& cache) {
    if (cache.count == 0 && !refill(cache)) return kNone;
    return cache.items[--cache.count];
  }

  void give(IndexCache& cache, uint32_t index) {
    if (cache.count == IndexCache::kCapacity) {
      cache.count -= kBatch;
      push(cache.items + cache.count, kBatch);
    }
    cache.items[cache.count++] = index;
  }

  // Without a cache: for a signal handler inside a hook.
  void give_shared(uint32_t index) { push(&index, 1); }

 private:
  static constexpr uint32_t kBatch = 32;

  struct Link {
    uint32_t next_in_batch;  // index + 1, 0: last
    uint32_t next_batch;
  };

  // `head_` is (tag << 32 | index + 1); the tag makes a popped and pushed batch differ from itself.
  void push(const uint32_t* indexes, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
      links_[indexes[i]].next_in_batch = i + 1 < count ? indexes[i + 1] + 1 : 0;
    uint64_t head = head_.load(std::memory_order_relaxed);
    uint64_t next;
    do {
      std::atomic_ref<uint32_t>(links_[indexes[0]].next_batch)
          .store(static_cast<uint32_t>(head), std::memory_order_relaxed);
      next = ((head >> 32) + 1) << 32 | (indexes[0] + 1);
    } while (!head_.compare_exchange_weak(head, next, std::memory_order_release));  // acquired in refill()
  }

  bool refill(IndexCache& cache) {
    uint64_t head = head_.load(std::memory_order_acquire);
    while (static_cast<uint32_t>(head) != 0) {
      const uint32_t first = static_cast<uint32_t>(head) - 1;
      const uint32_t below =
          std::atomic_ref<uint32_t>(links_[first].next_batch).load(std::memory_order_relaxed);
      if (!head_.compare_exchange_weak(head, ((head >> 32) + 1) << 32 | below, std::memory_order_acquire))
        continue;
      for (uint32_t link = first + 1; link != 0; link = links_[link - 1].next_in_batch)
        cache.items[cache.count++] = link - 1;
      return true;
    }
    for (uint32_t batch = kBatch; batch > 0; batch /= 2) {
      const uint32_t first = writer_->take(section_, batch);
      if (first == kNone) continue;
      // Lowest on top: neighbours in time are neighbours in memory.
      for (uint32_t i = batch; i > 0; i--) cache.items[cache.count++] = first + i - 1;
      return true;
    }
    return false;
  }

  SegmentWriter* writer_ = nullptr;
  segment::SectionId section_ = segment::kSectionCount;
  Link* links_ = nullptr;
  std::atomic<uint64_t> head_{0};
};

}  // namespace asynctrace::agent
