#include "agent/capture/stack_table.hpp"

#include <string.h>

#include <algorithm>

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

// Not by memcmp(): a sanitizer in the program would see that read, and not what orders it after the write.
bool same_pcs(const StackEntry& entry, std::span<const uint64_t> pcs) {
  if (entry.count != pcs.size()) return false;
  for (size_t i = 0; i < pcs.size(); i++)
    if (entry.pcs[i] != pcs[i]) return false;
  return true;
}

StackEntry* find(StackEntry* from, uint64_t hash, std::span<const uint64_t> pcs, uint16_t flags) {
  for (StackEntry* entry = from; entry != nullptr; entry = entry->next)
    if (entry->hash == hash && entry->flags == flags &&
        entry->gone_with.load(std::memory_order_relaxed) == 0 && same_pcs(*entry, pcs))
      return entry;
  return nullptr;
}

// More than one of its modules has gone.
constexpr uint32_t kForGood = UINT32_MAX;

uint16_t published_flags(const StackEntry& entry) {
  const bool gone = entry.gone_with.load(std::memory_order_relaxed) != 0;
  return entry.flags | (gone ? segment::kUnloaded : 0);
}

bool publish(const StackEntry& entry) {
  const uint32_t first = g_segment.take(segment::kPcs, entry.count);
  if (first == kNone) return false;
  memcpy(g_segment.items<uint64_t>(segment::kPcs) + first, entry.pcs, entry.count * sizeof(uint64_t));
  segment::Stack& stack = g_segment.items<segment::Stack>(segment::kStacks)[entry.number];
  stack.first_pc = first;
  stack.flags = published_flags(entry);
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

namespace {

uint32_t number_of(const LoadedModule& module) {
  return static_cast<uint32_t>(&module - modules().data()) + 1;
}

bool leads_through(const StackEntry& entry, const LoadedModule& module) {
  return std::any_of(entry.pcs, entry.pcs + entry.count,
                     [&](uint64_t pc) { return pc > module.start && pc <= module.end; });
}

void set_gone(StackEntry& entry, uint32_t module_number) {
  entry.gone_with.store(module_number, std::memory_order_release);
  std::atomic_ref<uint16_t>(g_segment.items<segment::Stack>(segment::kStacks)[entry.number].flags)
      .store(published_flags(entry), std::memory_order_release);
}

}  // namespace

void mark_stacks_gone(const LoadedModule& module) {
  for (uint32_t number = 0; number < g_segment.used(segment::kStacks); number++) {
    StackEntry* entry = stack_entry(number);
    if (entry == nullptr || !leads_through(*entry, module)) continue;
    set_gone(*entry, entry->gone_with.load(std::memory_order_relaxed) == 0 ? number_of(module) : kForGood);
  }
}

void mark_stacks_back(const LoadedModule& module) {
  for (uint32_t number = 0; number < g_segment.used(segment::kStacks); number++) {
    StackEntry* entry = stack_entry(number);
    if (entry != nullptr && entry->gone_with.load(std::memory_order_relaxed) == number_of(module))
      set_gone(*entry, 0);
  }
}

void republish_stacks() {
  const uint32_t used = g_segment.used(segment::kStacks);
  for (uint32_t number = 0; number < used; number++)
    if (const StackEntry* entry = stack_entry(number)) publish(*entry);
}

}  // namespace asynctrace::agent
