// Watchers: one record for each thing that a poll loop of a library waits for, private and published side by
// side under the same number, which is also that of the thunk that the library calls instead of the program's
// callback. All functions may run in any thread; none allocates or blocks.
#pragma once

#include <atomic>
#include <cstdint>

#include "agent/capture/capture.hpp"
#include "agent/tasks.hpp"
#include "agent/thread_context.hpp"
#include "common/segment.hpp"

namespace asynctrace::agent {

// How a library knows it.
struct WatcherKey {
  uint64_t address;  // 0: it has no name
  uint8_t slot;
};
inline constexpr uint8_t kLoopSlot = 0xff;  // the loop itself
// An operation of the native API. Private memory has the complement of its callback: whoever looks for such
// operations in the process by the addresses of their functions shall not find our records.
inline constexpr uint8_t kOperationSlot = 0xfc;

// What a call says of it.
struct WatcherFacts {
  const void* callback = nullptr;  // null: a loop
  int32_t descriptor = -1;         // as segment::Watcher has it
  uint16_t library = 0;            // label number
  uint16_t kind = 0;               // label number + 1
  uint8_t leaf_class = 0;
  bool repeats = false;            // a dispatch leaves it armed
  bool ends : 1 = false;           // its first dispatch is its end
  bool zero_ends : 1 = false;      // one whose callback returns 0 is its end
  bool error_disarms : 1 = false;  // one that returns a negative number
  bool returns_nothing : 1 = false;
  // Where the library looks for the callback, in the watcher: there stands the thunk while it waits. Offset,
  // 0: the library has been told the thunk.
  uint8_t callback_field = 0;
  uint8_t active_field = 0;  // then also: offset of a number that is 0 once it waits no more
  // Where a timer has its interval: an eighth of the offset, and kAgainInSeconds for a double, else it is
  // milliseconds of 64 bits. 0: none, or it never changes.
  uint8_t again_at = 0;
  uint16_t due_memory = 0;  // of whoever tells by when it is due
};

struct alignas(64) WatcherEntry {
  std::atomic<uint64_t> task_id;      // 0: free
  std::atomic<const void*> callback;  // the program's
  uint64_t address;
  uint32_t task;               // slot
  std::atomic<uint32_t> leaf;  // kNone: not armed
  WatcherFacts facts;
  uint8_t slot;
  uint8_t holds;                 // references beyond the first
  bool is_source;                // its callback is called without a thunk; see set_source()
  std::atomic<uint32_t> arming;  // as segment::Watcher has it
};
static_assert(sizeof(WatcherEntry) == 64);

bool start_watchers();
WatcherEntry& watcher_entry(uint32_t number);

// kNone: not known.
uint32_t find_watcher(WatcherKey key);

// The watcher with this key as it is from now on; one that was there and is another one by now has ended.
// kNone: no room (counted), or no thunk left.
uint32_t set_watcher(const HookGuard& guard, WatcherKey key, const WatcherFacts& facts);

// By when it is to be called, as segment::Watcher has it.
struct Due {
  segment::DueClock clock = segment::DueClock::kNone;
  uint64_t due = 0;
};
void set_due(uint32_t number, Due due);
// From its next wait on.
void set_due_again(uint32_t number, uint32_t milliseconds);
inline constexpr uint8_t kAgainInSeconds = 0x80;
uint32_t interval_of(const WatcherEntry& entry);  // as again_at has it; segment::kNeverDue

// Some of its facts have changed.
void publish_watcher(uint32_t number);

// Of one whose callback is called without a thunk: where a reader can see whether it still waits, see
// segment::WatcherCheck::kSource.
void set_source(uint32_t number, uint64_t type);
void set_source_id(uint32_t number, uint32_t id);

// It belongs to the loop at this address, for end_loop(). Numbers whose thunks the library cannot call any
// more are chained by WatcherEntry::address from `chain` on, to be given back.
void set_loop(uint32_t number, uint64_t loop);
uint32_t end_loop(const HookGuard& guard, uint64_t loop, uint32_t chain);

// Ends the one with this key, if there is one, but for its number: the library still calls its thunk, until
// it notifies.
void leave_to_library(const HookGuard& guard, WatcherKey key);

// What the program wants to be called when the library has done with the watcher; null: nothing.
void set_notify(uint32_t number, void* function);
void* notify_of(uint32_t number);

// The program's callback, back in its field.
void restore_callback(uint32_t number);

// References that a program has to it. let_go() tells whether it had one more than it has now, and so stays.
void hold(uint32_t number);
bool let_go(uint32_t number);

// Names one that had no name so far.
void name_watcher(const HookGuard& guard, uint32_t number, WatcherKey key);

// The number stays taken until give_back(): until then the library may still call its thunk.
void end_watcher(const HookGuard& guard, uint32_t number);
void give_back(const HookGuard& guard, uint32_t number);

// It waits, since now, armed at `stack` (null: lost). Returns whether it did so before.
bool arm(const HookGuard& guard, uint32_t number, const StackEntry* stack);
void disarm(const HookGuard& guard, uint32_t number);

// Its callback, or the loop, begins; `root` as in Frame. Null: nested too deeply to be recorded.
Frame* begin_dispatch(const HookGuard& guard, uint32_t number, uintptr_t root);

// Takes the innermost dispatch away, if it is the one with this root. False: it has been left long ago.
bool end_dispatch(const HookGuard& guard, uintptr_t root);

// The one dispatch of a watcher that ends with it is over, or was left by an exception.
void end_last_dispatch(const HookGuard& guard, uint32_t number, uint64_t task_id);

// Fills the segment of a forked child.
void republish_watchers();

}  // namespace asynctrace::agent
