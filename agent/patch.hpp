// Rewrites function pointers in read-only data. Each slot is one atomic store; its pages get their old
// protection back; every change is recorded with its old value, so that it can be undone. One thread at a
// time; reads /proc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace asynctrace::agent {

struct Patch {
  void** slot;
  void* original;
  void* value;
};
std::span<const Patch> patches();
// Puts the old values back, the last one first. A slot that no longer holds what we wrote is someone else's by
// now and stays. Every slot must be in memory that is still there.
void undo_patches();
// The same the other way round, after undo_patches(): slots that hold what was put back.
void redo_patches();
// Those in this range are gone with their memory.
void forget_patches(uint64_t start, uint64_t end);

// Keeps the mapping of the last slot writable until the next one lies elsewhere, or until it goes out of
// scope.
class SlotPatcher {
 public:
  SlotPatcher() = default;
  ~SlotPatcher() { protect_again(); }
  SlotPatcher(const SlotPatcher&) = delete;
  SlotPatcher& operator=(const SlotPatcher&) = delete;

  // False: the slot cannot be made writable, or the record of patches is full; it is as it was.
  bool write(void** slot, void* value);
  // Without a record: for slots that are ours alone, and never get their old value back.
  bool write_for_good(void** slot, void* value);

 private:
  bool unprotect(uint64_t address);
  void protect_again();

  uint64_t start_ = 0;
  uint64_t end_ = 0;
  int protection_ = 0;
};

}  // namespace asynctrace::agent
