#include "agent/patch.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>

#include "agent/platform.hpp"

namespace asynctrace::agent {
namespace {

constexpr size_t kMaxPatches = 1u << 16;
Patch* g_patches = nullptr;
size_t g_count = 0;

struct Mapping {
  uint64_t start = 0;
  uint64_t end = 0;
  int protection = 0;
};

// Reads /proc/self/maps a byte at a time through a small buffer: lines can be longer than any fixed size.
class MapsReader {
 public:
  MapsReader() : fd_(open("/proc/self/maps", O_RDONLY | O_CLOEXEC)) {}
  ~MapsReader() {
    if (fd_ >= 0) close(fd_);
  }
  MapsReader(const MapsReader&) = delete;
  MapsReader& operator=(const MapsReader&) = delete;

  bool next(Mapping& mapping) {
    mapping = {};
    int c = get();
    if (c < 0) return false;
    for (; c >= 0 && c != '-'; c = get()) mapping.start = mapping.start * 16 + digit(c);
    for (c = get(); c >= 0 && c != ' '; c = get()) mapping.end = mapping.end * 16 + digit(c);
    if (get() == 'r') mapping.protection |= PROT_READ;
    if (get() == 'w') mapping.protection |= PROT_WRITE;
    if (get() == 'x') mapping.protection |= PROT_EXEC;
    while (c >= 0 && c != '\n') c = get();
    return true;
  }

 private:
  static uint64_t digit(int c) { return static_cast<uint64_t>(c <= '9' ? c - '0' : c - 'a' + 10); }

  int get() {
    if (at_ == length_) {
      length_ = fd_ >= 0 ? read(fd_, buffer_, sizeof(buffer_)) : 0;
      at_ = 0;
      if (length_ <= 0) return length_ = 0, -1;
    }
    return static_cast<unsigned char>(buffer_[at_++]);
  }

  int fd_;
  ssize_t at_ = 0;
  ssize_t length_ = 0;
  char buffer_[1024];
};

}  // namespace

std::span<const Patch> patches() {
  return {g_patches, g_count};
}

void forget_patches(uint64_t start, uint64_t end) {
  size_t kept = 0;
  for (const Patch& patch : patches()) {
    const auto slot = reinterpret_cast<uint64_t>(patch.slot);
    if (slot < start || slot >= end) g_patches[kept++] = patch;
  }
  g_count = kept;
}

void undo_patches() {
  SlotPatcher patcher;
  for (size_t i = g_count; i-- > 0;) {
    const Patch& patch = g_patches[i];
    if (std::atomic_ref<void*>(*patch.slot).load(std::memory_order_acquire) == patch.value)
      patcher.write_for_good(patch.slot, patch.original);
  }
}

void redo_patches() {
  SlotPatcher patcher;
  for (const Patch& patch : patches())
    if (std::atomic_ref<void*>(*patch.slot).load(std::memory_order_acquire) == patch.original)
      patcher.write_for_good(patch.slot, patch.value);
}

bool SlotPatcher::write(void** slot, void* value) {
  if (g_patches == nullptr) g_patches = reserve_array<Patch>(kMaxPatches);
  if (g_patches == nullptr || g_count == kMaxPatches) return false;
  const Patch patch{slot, *slot, value};
  if (!write_for_good(slot, value)) return false;
  g_patches[g_count++] = patch;
  return true;
}

bool SlotPatcher::write_for_good(void** slot, void* value) {
  if (!unprotect(reinterpret_cast<uint64_t>(slot))) return false;
  std::atomic_ref<void*>(*slot).store(value, std::memory_order_release);
  return true;
}

bool SlotPatcher::unprotect(uint64_t address) {
  if (address >= start_ && address < end_) return true;
  protect_again();
  MapsReader maps;
  for (Mapping mapping; maps.next(mapping);) {
    if (address < mapping.start || address >= mapping.end) continue;
    if ((mapping.protection & PROT_WRITE) == 0 &&
        mprotect(reinterpret_cast<void*>(mapping.start), mapping.end - mapping.start,
                 mapping.protection | PROT_WRITE) != 0)
      return false;
    start_ = mapping.start;
    end_ = mapping.end;
    protection_ = mapping.protection;
    return true;
  }
  return false;
}

void SlotPatcher::protect_again() {
  if (end_ != 0 && (protection_ & PROT_WRITE) == 0)
    mprotect(reinterpret_cast<void*>(start_), end_ - start_, protection_);
  start_ = end_ = 0;
}

}  // namespace asynctrace::agent
