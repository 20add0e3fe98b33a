#include "agent/loops/watchers.hpp"

#include "agent/arch/thunks.hpp"
#include "agent/clock.hpp"
#include "agent/leaves.hpp"
#include "agent/live.hpp"
#include "agent/polls.hpp"
#include "agent/task_table.hpp"

namespace asynctrace::agent {
namespace {

constexpr uint32_t kThunks = kThunkCounts[static_cast<size_t>(ThunkArray::kDispatch)];

WatcherEntry* g_entries = nullptr;
IndexPool g_pool;
TaskTable g_table;

// Addresses of programs have 47 bits.
uint64_t key_of(uint64_t address, uint8_t slot) {
  return address | uint64_t{slot} << 48;
}
uint64_t key_of(const WatcherEntry& entry) {
  return key_of(entry.address, entry.slot);
}

// The other half is SegmentReader::watcher().
void publish(uint32_t number) {
  const WatcherEntry& entry = g_entries[number];
  segment::Watcher& item = g_segment.items<segment::Watcher>(segment::kWatchers)[number];
  std::atomic_thread_fence(std::memory_order_release);
  item.callback = reinterpret_cast<uint64_t>(entry.facts.callback);
  item.descriptor = entry.facts.descriptor;
  item.library = entry.facts.library;
  std::atomic_ref<uint64_t>(item.task).store(entry.task_id.load(std::memory_order_relaxed),
                                             std::memory_order_release);
}

void unpublish(uint32_t number) {
  segment::Watcher& item = g_segment.items<segment::Watcher>(segment::kWatchers)[number];
  std::atomic_ref<uint64_t>(item.task).store(0, std::memory_order_release);
}

bool is_same(const WatcherFacts& a, const WatcherFacts& b) {
  return a.callback == b.callback && a.descriptor == b.descriptor && a.library == b.library;
}

uint32_t add_watcher(const HookGuard& guard) {
  const uint32_t number = g_pool.take(guard.context().watchers);
  if (number != kNone && number < kThunks) return number;
  if (number != kNone) g_pool.give(guard.context().watchers, number);
  g_segment.count_loss(segment::kLostWatchers);
  return kNone;
}

// Gives a free record a task. False: no room (counted).
bool begin_task(const HookGuard& guard, uint32_t number, uint64_t address) {
  WatcherEntry& entry = g_entries[number];
  entry.leaf.store(kNone, std::memory_order_relaxed);
  entry.task = add_task(guard, segment::TaskKind::kWatcher, address, segment::kNoPoller);
  if (entry.task == kNone) return false;
  entry.task_id.store(task_entry(entry.task).id.load(std::memory_order_relaxed), std::memory_order_release);
  return true;
}

void end_task_of(const HookGuard& guard, uint32_t number) {
  WatcherEntry& entry = g_entries[number];
  disarm(guard, number);
  unpublish(number);
  end_task(guard, entry.task, entry.task_id.exchange(0, std::memory_order_acq_rel));
}

}  // namespace

bool start_watchers() {
  g_entries = reserve_array<WatcherEntry>(g_segment.capacity(segment::kWatchers));
  return g_entries != nullptr && g_pool.start(g_segment, segment::kWatchers) && g_table.start();
}

WatcherEntry& watcher_entry(uint32_t number) {
  return g_entries[number];
}

uint32_t find_watcher(WatcherKey key) {
  const uint64_t wanted = key_of(key.address, key.slot);
  return g_table.find(wanted, [&](uint32_t number) { return key_of(g_entries[number]) == wanted; });
}

uint32_t set_watcher(const HookGuard& guard, WatcherKey key, const WatcherFacts& facts) {
  uint32_t number = key.address != 0 ? find_watcher(key) : kNone;
  const bool is_new = number == kNone;
  if (is_new) number = add_watcher(guard);
  if (number == kNone) return kNone;
  WatcherEntry& entry = g_entries[number];
  const bool is_another = !is_new && !is_same(entry.facts, facts);
  if (is_another) end_task_of(guard, number);
  entry.facts = facts;
  entry.callback.store(facts.callback, std::memory_order_release);
  if ((is_new || is_another) && !begin_task(guard, number, key.address)) {
    if (is_another) g_table.erase(key_of(entry), number);
    give_back(guard, number);
    return kNone;
  }
  if (is_new) {
    entry.address = 0;
    entry.slot = key.slot;
    if (key.address != 0) name_watcher(guard, number, key);
  }
  publish(number);
  return number;
}

void name_watcher(const HookGuard& guard, uint32_t number, WatcherKey key) {
  // One whose end was not seen: what lies there now is another one.
  if (const uint32_t before = find_watcher(key); before != kNone && before != number) {
    end_watcher(guard, before);
    give_back(guard, before);
  }
  WatcherEntry& entry = g_entries[number];
  entry.address = key.address;
  entry.slot = key.slot;
  set_task_address(entry.task, key.address);
  // Without room it is shown as long as it stays armed, and its end is not seen.
  if (!g_table.insert(key_of(entry), number)) g_segment.count_loss(segment::kLostWatchers);
}

void end_watcher(const HookGuard& guard, uint32_t number) {
  WatcherEntry& entry = g_entries[number];
  if (entry.address != 0) g_table.erase(key_of(entry), number);
  end_task_of(guard, number);
  entry.address = 0;
}

void give_back(const HookGuard& guard, uint32_t number) {
  g_pool.give(guard.context().watchers, number);
}

__attribute__((noinline)) bool arm(const HookGuard& guard, uint32_t number, const StackEntry* stack) {
  WatcherEntry& entry = g_entries[number];
  const uint64_t ticks = now();
  const LeafOwner owner{.task = entry.task,
                        .task_id = entry.task_id.load(std::memory_order_relaxed),
                        .poll = task_entry(entry.task).polls,
                        .own_waker = false,
                        .registered = ticks,
                        .since = ticks,
                        .label = entry.facts.kind};
  const uint32_t leaf = begin_leaf(guard, owner, stack != nullptr ? stack->number : segment::kNoStack);
  const uint32_t before = entry.leaf.exchange(leaf, std::memory_order_acq_rel);
  if (before != kNone) end_leaf(guard, before, false);
  mark_waiting(entry.task, ticks);
  return before != kNone;
}

void disarm(const HookGuard& guard, uint32_t number) {
  const uint32_t leaf = g_entries[number].leaf.exchange(kNone, std::memory_order_acq_rel);
  if (leaf != kNone) end_leaf(guard, leaf, false);
}

Frame* begin_dispatch(const HookGuard& guard, uint32_t number, uintptr_t root) {
  const WatcherEntry& entry = g_entries[number];
  const uint64_t id = entry.task_id.load(std::memory_order_acquire);
  if (id == 0) return nullptr;
  Frame* frame = push_poll_of(guard, entry.task, id, entry.address, root);
  if (frame != nullptr) frame->callback = reinterpret_cast<uint64_t>(entry.facts.callback);
  if (!entry.facts.repeats) disarm(guard, number);
  if (entry.facts.ends && frame != nullptr) frame->last_of_watcher = number;
  else if (entry.facts.ends) end_watcher(guard, number), give_back(guard, number);
  return frame;
}

bool end_dispatch(const HookGuard& guard, uintptr_t root) {
  drop_dead_frames(guard, root);
  const Frame* frame = guard.context().frame;
  if (frame == nullptr || frame->root != root) return false;
  abandon_polls(guard, root + 1);
  return true;
}

void end_last_dispatch(const HookGuard& guard, uint32_t number, uint64_t task_id) {
  if (g_entries[number].task_id.load(std::memory_order_acquire) != task_id) return;
  end_watcher(guard, number);
  give_back(guard, number);
}

void republish_watchers() {
  const uint32_t used = g_segment.used(segment::kWatchers);
  for (uint32_t number = 0; number < used; number++)
    if (g_entries[number].task_id.load(std::memory_order_relaxed) != 0) publish(number);
}

}  // namespace asynctrace::agent
