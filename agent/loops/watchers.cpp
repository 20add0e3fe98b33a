#include "agent/loops/watchers.hpp"

#include <string.h>

#include <bit>

#include "agent/arch/thunks.hpp"
#include "agent/clock.hpp"
#include "agent/leaves.hpp"
#include "agent/live.hpp"
#include "agent/polls.hpp"
#include "agent/task_table.hpp"

namespace asynctrace::agent {
namespace {

constexpr uint32_t kThunks = kThunkCounts[static_cast<size_t>(ThunkArray::kDispatch)];

// What few of them have.
struct WatcherExtras {
  uint64_t loop;
  uint64_t type;
  uint32_t id;
};

WatcherEntry* g_entries = nullptr;
WatcherExtras* g_extras = nullptr;
std::atomic<void*>* g_notify = nullptr;
IndexPool g_pool;
TaskTable g_table;

// Addresses of programs have 47 bits.
uint64_t key_of(uint64_t address, uint8_t slot) {
  return address | uint64_t{slot} << 48;
}
uint64_t key_of(const WatcherEntry& entry) {
  return key_of(entry.address, entry.slot);
}

void unpublish(uint32_t number) {
  segment::Watcher& item = g_segment.items<segment::Watcher>(segment::kWatchers)[number];
  std::atomic_ref<uint64_t>(item.task).store(0, std::memory_order_release);
}

// Of a loop between two callbacks, which is no cause; no arming has this number.
constexpr uint32_t kLoopArming = 1;

// The other half is SegmentReader::watcher(). Without a lock, which costs more than all the rest: two threads
// that arm one watcher within some nanoseconds may leave a cause of whose parts each has told some.
void publish_cause(const HookGuard& guard, uint32_t number) {
  std::atomic<uint32_t>& arming = g_entries[number].arming;
  const uint32_t before = arming.load(std::memory_order_relaxed);
  if ((before & 1) != 0) return;  // another one is at it
  arming.store(before + 1, std::memory_order_relaxed);
  segment::Watcher& item = g_segment.items<segment::Watcher>(segment::kWatchers)[number];
  const std::atomic_ref<uint32_t> published(item.arming);
  published.store(before + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  const Frame* frame = guard.context().frame;
  const bool is_caused = frame != nullptr && frame->arming != kLoopArming;
  item.cause = is_caused ? frame->task_id : 0;
  item.cause_callback = is_caused ? frame->callback : 0;
  item.cause_stack = is_caused ? frame->armed_at : segment::kNoStack;
  item.cause_arming = is_caused ? frame->arming : 0;
  published.store(before + 2, std::memory_order_release);
  arming.store(before + 2, std::memory_order_relaxed);
}

segment::WatcherCheck check_of(const WatcherEntry& entry) {
  if (entry.is_source) return segment::WatcherCheck::kSource;
  return entry.facts.callback_field != 0 ? segment::WatcherCheck::kCallback : segment::WatcherCheck::kNothing;
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
  if (const uint64_t id = entry.task_id.exchange(0, std::memory_order_acq_rel); id != 0)
    end_task(guard, entry.task, id);
}

}  // namespace

bool start_watchers() {
  g_entries = reserve_array<WatcherEntry>(g_segment.capacity(segment::kWatchers));
  g_extras = reserve_array<WatcherExtras>(g_segment.capacity(segment::kWatchers));
  g_notify = reserve_array<std::atomic<void*>>(kThunks);
  return g_entries != nullptr && g_extras != nullptr && g_notify != nullptr &&
         g_pool.start(g_segment, segment::kWatchers) && g_table.start();
}

WatcherEntry& watcher_entry(uint32_t number) {
  return g_entries[number];
}

// The other half is SegmentReader::watcher().
void publish_watcher(uint32_t number) {
  const WatcherEntry& entry = g_entries[number];
  segment::Watcher& item = g_segment.items<segment::Watcher>(segment::kWatchers)[number];
  std::atomic_thread_fence(std::memory_order_release);
  const auto callback = reinterpret_cast<uint64_t>(entry.facts.callback);
  item.callback = entry.slot == kOperationSlot ? ~callback : callback;
  item.descriptor = entry.facts.descriptor;
  item.library = entry.facts.library;
  item.check = check_of(entry);
  item.number = entry.is_source ? g_extras[number].id : entry.facts.callback_field;
  item.type = entry.is_source ? g_extras[number].type : 0;
  std::atomic_ref<uint64_t>(item.task).store(entry.task_id.load(std::memory_order_relaxed),
                                             std::memory_order_release);
}

// The other half is SegmentReader::watcher().
void set_due(uint32_t number, Due due) {
  segment::Watcher& item = g_segment.items<segment::Watcher>(segment::kWatchers)[number];
  const std::atomic_ref<segment::DueClock> clock(item.due_clock);
  clock.store(segment::DueClock::kNone, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  std::atomic_ref<uint64_t>(item.due).store(due.due, std::memory_order_relaxed);
  clock.store(due.clock, std::memory_order_release);
}

void set_due_again(uint32_t number, uint32_t milliseconds) {
  static_assert(std::endian::native == std::endian::little);
  segment::Watcher& item = g_segment.items<segment::Watcher>(segment::kWatchers)[number];
  auto* const halves = reinterpret_cast<uint32_t*>(&item.due);
  std::atomic_ref<uint32_t>(halves[1]).store(milliseconds, std::memory_order_relaxed);
}

uint32_t find_watcher(WatcherKey key) {
  const uint64_t wanted = key_of(key.address, key.slot);
  return g_table.find(wanted, [&](uint32_t number) { return key_of(g_entries[number]) == wanted; });
}

uint32_t set_watcher(const HookGuard& guard, WatcherKey key, const WatcherFacts& facts) {
  const bool has_name = key.address != 0 || key.slot == kLoopSlot;
  uint32_t number = has_name ? find_watcher(key) : kNone;
  const bool is_new = number == kNone;
  if (is_new) number = add_watcher(guard);
  if (number == kNone) return kNone;
  WatcherEntry& entry = g_entries[number];
  const bool is_another = !is_new && !is_same(entry.facts, facts);
  if (is_another) end_task_of(guard, number);
  entry.facts = facts;
  entry.callback.store(facts.callback, std::memory_order_release);
  if (is_new || is_another) set_due(number, {});
  if ((is_new || is_another) && !begin_task(guard, number, key.address)) {
    if (is_another) g_table.erase(key_of(entry), number);
    give_back(guard, number);
    return kNone;
  }
  if (is_new) {
    entry.address = 0;
    entry.slot = key.slot;
    entry.holds = 0;
    entry.is_source = false;
    g_extras[number].loop = 0;
    if (has_name) name_watcher(guard, number, key);
  }
  publish_watcher(number);
  return number;
}

void leave_to_library(const HookGuard& guard, WatcherKey key) {
  const uint32_t number = key.address != 0 ? find_watcher(key) : kNone;
  if (number == kNone) return;
  end_watcher(guard, number);
  if (g_entries[number].is_source) give_back(guard, number);
}

void set_source(uint32_t number, uint64_t type) {
  g_entries[number].is_source = true;
  g_extras[number].type = type;
  g_extras[number].id = 0;
  publish_watcher(number);
}

void set_source_id(uint32_t number, uint32_t id) {
  if (!g_entries[number].is_source || g_entries[number].task_id.load(std::memory_order_acquire) == 0) return;
  g_extras[number].id = id;
  publish_watcher(number);
}

void set_loop(uint32_t number, uint64_t loop) {
  g_extras[number].loop = loop;
}

uint32_t end_loop(const HookGuard& guard, uint64_t loop, uint32_t chain) {
  const uint32_t used = g_segment.used(segment::kWatchers);
  for (uint32_t number = 0; number < used; number++) {
    WatcherEntry& entry = g_entries[number];
    const bool is_its = g_extras[number].loop == loop && entry.slot != kLoopSlot &&
                        entry.task_id.load(std::memory_order_acquire) != 0;
    if (!is_its) continue;
    end_watcher(guard, number);
    // The thunk in the program's struct, which may be gone: so the number stays taken, with the callback.
    if (entry.facts.callback_field != 0) continue;
    entry.address = chain;
    chain = number;
  }
  return chain;
}

void set_notify(uint32_t number, void* function) {
  g_notify[number].store(function, std::memory_order_release);
}

void* notify_of(uint32_t number) {
  return g_notify[number].load(std::memory_order_acquire);
}

void restore_callback(uint32_t number) {
  const WatcherEntry& entry = g_entries[number];
  if (entry.address == 0) return;  // it has ended
  void* const field = reinterpret_cast<void*>(entry.address + entry.facts.callback_field);
  const void* const ours = thunk(ThunkArray::kDispatch, number);
  if (memcmp(field, &ours, sizeof(ours)) == 0) memcpy(field, &entry.facts.callback, sizeof(ours));
}

void hold(uint32_t number) {
  uint8_t& holds = g_entries[number].holds;
  if (holds != UINT8_MAX) holds++;
}

bool let_go(uint32_t number) {
  uint8_t& holds = g_entries[number].holds;
  if (holds == 0) return false;
  if (holds != UINT8_MAX) holds--;  // from there on they are no longer counted
  return true;
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
  if (entry.address != 0 || entry.slot == kLoopSlot) g_table.erase(key_of(entry), number);
  end_task_of(guard, number);
  entry.address = 0;
}

void give_back(const HookGuard& guard, uint32_t number) {
  g_pool.give(guard.context().watchers, number);
}

__attribute__((noinline)) bool arm(const HookGuard& guard, uint32_t number, const StackEntry* stack) {
  WatcherEntry& entry = g_entries[number];
  const uint64_t id = entry.task_id.load(std::memory_order_relaxed);
  const Frame* frame = guard.context().frame;
  // By its own callback: it waits from the end of that one on, which will tell when that was.
  const bool is_by_itself = frame != nullptr && frame->task_id == id;
  const uint64_t ticks = is_by_itself ? frame->began : now();
  publish_cause(guard, number);
  const LeafOwner owner{.task = entry.task,
                        .task_id = id,
                        .poll = task_entry(entry.task).polls,
                        .own_waker = false,
                        .registered = ticks,
                        .since = ticks,
                        .label = entry.facts.kind};
  const uint32_t leaf = begin_leaf(guard, owner, stack != nullptr ? stack->number : segment::kNoStack);
  const uint32_t before = entry.leaf.exchange(leaf, std::memory_order_acq_rel);
  if (before != kNone) end_leaf(guard, before, false);
  if (!is_by_itself) mark_waiting(entry.task, ticks);
  return before != kNone;
}

void disarm(const HookGuard& guard, uint32_t number) {
  const uint32_t leaf = g_entries[number].leaf.exchange(kNone, std::memory_order_acq_rel);
  if (leaf != kNone) end_leaf(guard, leaf, false);
}

namespace {

// The library has taken it out of its loop before it calls it for the last time.
bool is_over(const WatcherEntry& entry) {
  if (entry.facts.callback_field == 0) return false;
  int32_t active = 0;
  memcpy(&active, reinterpret_cast<const void*>(entry.address + entry.facts.active_field), sizeof(active));
  return active == 0;
}

void note_dispatch(Frame& frame, const WatcherEntry& entry) {
  frame.callback = reinterpret_cast<uint64_t>(entry.facts.callback);
  const uint32_t leaf = entry.leaf.load(std::memory_order_relaxed);
  if (frame.callback == 0) frame.arming = kLoopArming;
  if (leaf == kNone) return;
  frame.arming = entry.arming.load(std::memory_order_relaxed) & ~1u;
  frame.armed_at = leaf_record(leaf).stack;
}

}  // namespace

Frame* begin_dispatch(const HookGuard& guard, uint32_t number, uintptr_t root) {
  const WatcherEntry& entry = g_entries[number];
  const uint64_t id = entry.task_id.load(std::memory_order_acquire);
  if (id == 0) return nullptr;
  // The library has armed it anew right before.
  if (entry.facts.again_at != 0) set_due_again(number, interval_of(entry));
  Frame* frame = push_poll_of(guard, entry.task, id, entry.address, root);
  if (frame != nullptr) note_dispatch(*frame, entry);
  const bool is_last = entry.facts.ends || is_over(entry);
  if (is_last && entry.facts.callback_field != 0) restore_callback(number);
  if (is_last || !entry.facts.repeats) disarm(guard, number);
  if (is_last && frame != nullptr) frame->last_of_watcher = number;
  else if (is_last) end_watcher(guard, number), give_back(guard, number);
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
  const WatcherEntry& entry = g_entries[number];
  if (entry.task_id.load(std::memory_order_acquire) != task_id) return;
  // It has been armed again in its callback.
  if (entry.leaf.load(std::memory_order_acquire) != kNone) return;
  end_watcher(guard, number);
  give_back(guard, number);
}

void republish_watchers() {
  const uint32_t used = g_segment.used(segment::kWatchers);
  for (uint32_t number = 0; number < used; number++)
    if (g_entries[number].task_id.load(std::memory_order_relaxed) != 0) publish_watcher(number);
}

}  // namespace asynctrace::agent
