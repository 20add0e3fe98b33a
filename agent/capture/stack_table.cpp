#include "agent/capture/stack_table.hpp"

#include <string.h>

#include "agent/live.hpp"

namespace asynctrace::agent {
namespace {

constexpr size_t kArenaSize = size_t{256} << 20;
constexpr uint32_t kBuckets = 1u << 14;

Arena g_arena;
std::atomic<StackEntry*>* g_buckets = nullptr;
std::atomic<StackEntry*>* g_by_number = nullptr;

uint64_t hash_of(std::span<const uint64_t> pcs) {
  uint64_t hash = pcs.size();
  for (const uint64_t pc : pcs) {
    hash = (hash ^ pc) * 0x9e3779b97f4a7c15ull;
    hash ^= hash >> 32;
  }
  return hash;
}

StackEntry* find(StackEntry* from, uint64_t hash, std::span<const uint64_t> pcs, uint16_t flags) {
  for (StackEntry* entry = from; entry != nullptr; entry = entry->next)
    if (entry->hash == hash && entry->count == pcs.size() && entry->flags == flags &&
        memcmp(entry->pcs, pcs.data(), pcs.size_bytes()) == 0)
      return entry;
  return nullptr;
}

bool publish(const StackEntry& entry) {
  const uint32_t first = g_segment.take(segment::kPcs, entry.count);
  if (first == kNone) return false;
  memcpy(g_segment.items<uint64_t>(segment::kPcs) + first, entry.pcs, entry.count * sizeof(uint64_t));
  segment::Stack& stack = g_segment.items<segment::Stack>(segment::kStacks)[entry.number];
  stack.first_pc = first;
  stack.flags = entry.flags;
  // Acquired by SegmentReader::stack().
  std::atomic_ref<uint16_t>(stack.count).store(entry.count, std::memory_order_release);
  return true;
}

StackEntry* make(uint64_t hash, std::span<const uint64_t> pcs, uint16_t flags) {
  auto* entry = reinterpret_cast<StackEntry*>(g_arena.make<char>(sizeof(StackEntry) + pcs.size_bytes()));
  if (entry == nullptr) return nullptr;
  entry->number = g_segment.take(segment::kStacks, 1);
  if (entry->number == kNone) return nullptr;
  entry->hash = hash;
  entry->count = static_cast<uint16_t>(pcs.size());
  entry->flags = flags;
  memcpy(entry->pcs, pcs.data(), pcs.size_bytes());
  if (!publish(*entry)) return nullptr;
  g_by_number[entry->number].store(entry, std::memory_order_release);
  return entry;
}

}  // namespace

bool start_stacks() {
  g_buckets = reserve_array<std::atomic<StackEntry*>>(kBuckets);
  g_by_number = reserve_array<std::atomic<StackEntry*>>(g_segment.capacity(segment::kStacks));
  return g_buckets != nullptr && g_by_number != nullptr && g_arena.start(kArenaSize);
}

Arena& stack_arena() {
  return g_arena;
}

StackEntry* intern_stack(std::span<const uint64_t> pcs, uint16_t flags) {
  const uint64_t hash = hash_of(pcs);
  std::atomic<StackEntry*>& bucket = g_buckets[hash % kBuckets];
  StackEntry* head = bucket.load(std::memory_order_acquire);
  StackEntry* entry = find(head, hash, pcs, flags);
  if (entry != nullptr) return entry;
  StackEntry* made = make(hash, pcs, flags);
  if (made == nullptr) {
    g_segment.count_loss(segment::kLostStacks);
    return nullptr;
  }
  for (;;) {
    made->next = head;
    if (bucket.compare_exchange_weak(head, made, std::memory_order_acq_rel)) return made;
    entry = find(head, hash, pcs, flags);  // another thread met the same stack at the same moment
    if (entry != nullptr) return entry;
  }
}

StackEntry* stack_entry(uint32_t number) {
  if (number >= g_segment.capacity(segment::kStacks)) return nullptr;
  return g_by_number[number].load(std::memory_order_acquire);
}

void republish_stacks() {
  const uint32_t used = g_segment.used(segment::kStacks);
  for (uint32_t number = 0; number < used; number++)
    if (const StackEntry* entry = stack_entry(number)) publish(*entry);
}

}  // namespace asynctrace::agent
