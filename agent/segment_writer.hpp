// SegmentWriter: creates the process's segment file and reserves room in it. The mapping is never
// believed: what the program's behaviour depends on, every pointer above all, lives in private memory. Read
// back are numbers alone that become other numbers of the file.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "agent/config.hpp"
#include "common/segment.hpp"

namespace asynctrace::agent {

inline constexpr uint32_t kNone = 0xffffffff;

class SegmentWriter {
 public:
  // Creates and maps the file; false where no directory takes it (errno tells why). Allocates nothing on the
  // heap. Call from one thread: the constructor, or the first hook of a forked child.
  bool create(const Config& config);

  segment::Header& header() { return *header_; }
  const char* path() const { return path_; }  // absolute; "": unknown

  template <typename T>
  T* items(segment::SectionId id) {
    return static_cast<T*>(sections_[id].base);
  }
  uint32_t capacity(segment::SectionId id) const { return sections_[id].capacity; }

  // Hands out `count` adjacent items and makes sure that writing them cannot fault. kNone: the section or the
  // file system is full. Any thread; a system call only when a new chunk is needed.
  uint32_t take(segment::SectionId id, uint32_t count);

  // Hands out items until number `index` is among them: for items whose numbers are dealt out elsewhere.
  bool cover(segment::SectionId id, uint32_t index);
  uint32_t used(segment::SectionId id) const { return sections_[id].next.load(std::memory_order_relaxed); }

  // Reserves the next chunk ahead of need where less than half a chunk is left. For moments that may block.
  void reserve_ahead(segment::SectionId id) {
    const Area& area = sections_[id];
    if (area.next.load(std::memory_order_relaxed) >= area.low_water.load(std::memory_order_relaxed))
        [[unlikely]]
      reserve_next_chunk(id);
  }

  void count_loss(segment::Counter counter);

 private:
  struct Area {
    void* base = nullptr;
    uint32_t item_size = 0;
    uint32_t capacity = 0;
    std::atomic<uint32_t> next{0};
    std::atomic<uint64_t> reserved_bytes{0};
    std::atomic<uint32_t> unasked{0};    // requests still to be refused since the file system was found full
    std::atomic<uint32_t> low_water{0};  // number of the item from which on the next chunk is wanted
  };

  void plan(uint64_t max_size);
  int open_file(const Config& config, char* path, size_t path_size);
  bool reserve(Area& area, uint64_t bytes);
  void reserve_next_chunk(segment::SectionId id);
  void write_identity();

  void note_path(int fd);

  segment::Header* header_ = nullptr;
  char path_[4096] = "";
  uint64_t file_size_ = 0;
  bool populate_on_demand_ = true;
  Area sections_[segment::kSectionCount];
};

// Appends bytes to the strings section; {0, 0} where it is full.
segment::StringRef add_string(SegmentWriter& writer, const char* bytes, size_t length);

}  // namespace asynctrace::agent
