#include "cli/coroutines/glibc_heaps.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_map>

namespace asynctrace {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kWord = 8;
constexpr uint64_t kAlignment = 16;
constexpr uint64_t kHeaderSize = 2 * kWord;  // of a chunk: size of the free one before it, size and flags
constexpr uint64_t kMinChunk = 32;
constexpr uint64_t kBeforeInUse = 1, kMapped = 2, kFlags = 7;
constexpr int kWalks = 3;  // of a heap that changes meanwhile

// The first chunk of the main heap is its thread's cache, of one of two sizes since 2.26. In static programs
// the main thread's local variables come before it.
constexpr std::array<uint64_t, 2> kThreadCaches = {0x290, 0x250};
constexpr uint64_t kMaxBefore = 16 << 10;

// Heaps of other threads are aligned to their largest size. They begin with {arena, heap before, size, ..};
// in an arena's first heap its state follows, of this size since 2.27.
constexpr uint64_t kHeapSize = 64 << 20;
constexpr uint64_t kArenaSize = 0x898;
constexpr uint64_t kMaxHeapHeader = 128;

struct Heap {
  uint64_t first = 0;  // chunk
  uint64_t end = 0;    // 0: where nothing can be read any more
  bool operator==(const Heap&) const = default;
};

// Two words at a time, from pieces that are read at once: a heap may have millions of chunks.
class Window {
 public:
  explicit Window(const Memory& memory) : memory_(memory) {}

  std::optional<uint64_t> word(uint64_t address) {
    if (address < start_ || address - start_ > size_ - kWord || size_ == 0) {
      if (!fill(address)) return std::nullopt;
    }
    return words_[(address - start_) / kWord];
  }

 private:
  bool fill(uint64_t address) {
    start_ = address / kPage * kPage;
    for (const uint64_t size : {uint64_t{64} * kPage, kPage}) {
      words_.resize(size / kWord);
      if (!memory_.read(start_, std::as_writable_bytes(std::span(words_)))) continue;
      size_ = size;
      return true;
    }
    size_ = 0;
    return false;
  }

  const Memory& memory_;
  std::vector<uint64_t> words_;
  uint64_t start_ = 0, size_ = 0;
};

// Of `addresses`, which are in this heap or behind it. False where the chunks make no sense: then the rest is
// not known.
bool walk(const Memory& memory, const Heap& heap, std::span<const uint64_t> addresses,
          std::span<Block> blocks) {
  Window window(memory);
  uint64_t chunk = heap.first;
  size_t next = 0;
  while (next < addresses.size()) {
    const auto word = window.word(chunk + kWord);
    const uint64_t size = word ? *word & ~kFlags : 0;
    if (size < kMinChunk || size % kAlignment != 0 || size > uint64_t{1} << 47) return false;
    const uint64_t after = chunk + size;
    if (heap.end != 0 && after > heap.end) return false;
    // What lies behind the last chunk cannot be read: that one is free.
    const bool is_last = heap.end != 0 ? after == heap.end : false;
    const auto header_after = is_last ? std::nullopt : window.word(after + kWord);
    const bool in_use = header_after && (*header_after & kBeforeInUse) != 0;
    for (; next < addresses.size() && addresses[next] < after + kHeaderSize; ++next) {
      const uint64_t address = addresses[next];
      const bool begins = address == chunk + kHeaderSize;
      if (!in_use) blocks[next] = {BlockState::kFree, 0, 0};
      else
        blocks[next] = {begins ? BlockState::kInUse : BlockState::kInside, chunk + kHeaderSize, size - kWord};
    }
    if (!header_after) return true;
    chunk = after;
  }
  return true;
}

class HeapFinder {
 public:
  explicit HeapFinder(const ProcessImage& image) : memory_(*image.memory) {
    for (const MemoryRange& range : image.writable) {
      if (const auto first = first_chunk(range)) main_.push_back(*first);
    }
  }

  // What may be the heap there.
  std::optional<Heap> around(uint64_t address) {
    const uint64_t base = address / kHeapSize * kHeapSize;
    const auto [entry, is_new] = thread_heaps_.try_emplace(base);
    if (is_new) entry->second = thread_heap(base);
    if (entry->second) return entry->second;
    const auto next = std::ranges::upper_bound(main_, address);
    if (next == main_.begin()) return std::nullopt;
    return Heap{*std::prev(next), 0};
  }

 private:
  std::optional<uint64_t> first_chunk(const MemoryRange& range) const {
    std::vector<uint64_t> words(std::min(kMaxBefore, range.end - range.start) / kWord);
    if (range.is_stack || !memory_.read(range.start, std::as_writable_bytes(std::span(words))))
      return std::nullopt;
    for (size_t i = 0; i + 1 < words.size(); i += 2) {
      const uint64_t word = words[i + 1];
      if ((word & kFlags) == kBeforeInUse && std::ranges::count(kThreadCaches, word & ~kFlags) > 0)
        return range.start + i * kWord;
    }
    return std::nullopt;
  }

  std::optional<Heap> thread_heap(uint64_t base) const {
    const auto arena = memory_.number(base), before = memory_.number(base + kWord),
               size = memory_.number(base + 2 * kWord);
    if (!arena || !before || !size || *size % kPage != 0 || *size == 0 || *size > kHeapSize)
      return std::nullopt;
    const uint64_t header = *arena % kHeapSize;
    if (header < 4 * kWord || header > kMaxHeapHeader || *before % kHeapSize != 0) return std::nullopt;
    const bool is_first = *before == 0;
    if (is_first && *arena - header != base) return std::nullopt;
    const uint64_t start = is_first ? *arena + kArenaSize : base + header;
    return Heap{(start + kAlignment - 1) / kAlignment * kAlignment, base + *size};
  }

  const Memory& memory_;
  std::vector<uint64_t> main_;  // where a main heap may begin
  std::unordered_map<uint64_t, std::optional<Heap>> thread_heaps_;
};

// One that was mapped for itself: glibc unmaps it when it is freed.
bool is_mapped_block(const Memory& memory, uint64_t address, uint64_t& size) {
  const uint64_t chunk = address - kHeaderSize;
  if (chunk % kPage != 0) return false;
  const auto before = memory.number(chunk), word = memory.number(chunk + kWord);
  if (!before || !word || (*word & kMapped) == 0 || (*word & kBeforeInUse) != 0) return false;
  size = (*word & ~kFlags) - kHeaderSize;
  return *before == 0 && (*word & ~kFlags) % kPage == 0 && (*word & ~kFlags) >= kPage;
}

}  // namespace

std::vector<Block> find_blocks(const ProcessImage& image, std::span<const uint64_t> addresses) {
  std::vector<Block> blocks(addresses.size());
  HeapFinder heaps(image);
  for (size_t first = 0; first < addresses.size();) {
    const auto heap = heaps.around(addresses[first]);
    size_t last = first + 1;
    while (last < addresses.size() && heaps.around(addresses[last]) == heap) ++last;
    const std::span<Block> part(blocks.data() + first, last - first);
    for (int i = 0; heap && i < kWalks; ++i)
      if (walk(*image.memory, *heap, addresses.subspan(first, last - first), part)) break;
    first = last;
  }
  for (size_t i = 0; i < addresses.size(); ++i) {
    uint64_t size = 0;
    if (blocks[i].state == BlockState::kUnknown && is_mapped_block(*image.memory, addresses[i], size))
      blocks[i] = {BlockState::kInUse, addresses[i], size};
  }
  return blocks;
}

}  // namespace asynctrace
