// SegmentReader: bounds-checked access to the bytes of a segment, live or dead, whatever they are. Believes
// nothing: it copies, checks, then returns. Holds no copy itself; the bytes must outlive it. Does not
// allocate. A live segment changes under it: what the format guards is returned whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <variant>

#include "common/segment.hpp"

namespace asynctrace {

enum class SegmentFault {
  kTooShort,      // smaller than a header
  kNotASegment,   // no magic: another kind of file, or one whose creation was cut short
  kOtherVersion,  // written by an older or newer agent
  kBadLayout,     // sections that overlap the header or reach past the file
};
const char* describe(SegmentFault fault);

// The header's clock, as a conversion.
struct TickRate {
  segment::ClockKind kind;
  uint64_t ticks0;
  uint64_t ns0;
  double ns_per_tick;
  uint64_t to_monotonic_ns(uint64_t ticks) const;
};

class SegmentReader {
 public:
  static std::variant<SegmentReader, SegmentFault> open(std::span<const std::byte> bytes);

  // A copy; its strings and counters are not checked.
  segment::Header header() const;
  uint64_t counter(segment::Counter counter) const;
  TickRate clock() const;

  // How many items were ever handed out, at most what the file holds.
  uint32_t used(segment::SectionId id) const;
  // Those items as they stand in the file, of Section::item_size bytes each.
  std::span<const std::byte> items(segment::SectionId id) const;

  // "" for a reference that does not lie in the strings section.
  std::string_view string(segment::StringRef ref) const;

  // Nothing past the end, in a free slot, or (leaf) while it is being written even after some tries.
  std::optional<segment::Module> module(uint32_t index) const;
  std::optional<segment::Poller> poller(uint32_t index) const;
  std::optional<segment::Thread> thread(uint32_t index) const;
  std::optional<segment::Task> task(uint32_t index) const;
  std::optional<segment::Leaf> leaf(uint32_t index) const;
  std::optional<segment::Label> label(uint32_t index) const;
  std::optional<segment::NativeTask> native_task(uint32_t index) const;
  std::optional<segment::Watcher> watcher(uint32_t index) const;
  // The task that the leaf belonged to a moment ago, a cheap look: 0 for none. leaf() tells the truth.
  uint64_t peek_leaf_task(uint32_t index) const;
  // The stack's addresses, innermost first, as bytes of the segment: written once, so they do not change.
  struct StackView {
    uint16_t flags;
    std::span<const uint64_t> pcs;
  };
  std::optional<StackView> stack(uint32_t index) const;

 private:
  explicit SegmentReader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  const std::byte* item(segment::SectionId id, uint32_t index) const;
  template <typename T>
  std::optional<T> guarded_by_id(segment::SectionId section, uint32_t index, uint64_t T::*id_field) const;
  template <typename T>
  T copy(const std::byte* from, uint32_t item_size) const;

  struct Area {
    uint64_t offset;
    uint32_t item_size;
    uint32_t capacity;
  };
  std::span<const std::byte> bytes_;
  Area areas_[segment::kSectionCount] = {};
};

}  // namespace asynctrace
