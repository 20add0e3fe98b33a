// What the agent knows of the poll loops of C and C++ libraries: one row for each function of theirs that it
// stands before. A new library is new rows, and no code. Constant data; any thread.
#pragma once

#include <cstdint>
#include <span>

#include "common/loop_hooks.hpp"
#include "common/own_loops.hpp"

namespace asynctrace::agent {

// How a function tells by when the watcher is to be called.
enum class DueUnit : uint8_t {
  kNotTold,
  kMilliseconds,    // from now on, of 64 bits
  kMilliseconds32,  // of 32
  kSeconds32,       // the same; the library rounds by less than a second
  kSeconds,         // a double
  kTimeval,         // a pointer to one; null: as it was, if it waits
  kMicroseconds,    // a time of the clock in `clock`; `slack` microseconds later will do
  kMicrosecondsFromNow,
  kSameClock,  // the same, of the clock and with the slack that were told before
  kSameClockFromNow,
  kReadyTime,  // of the monotonic clock, in microseconds; -1: none
  kForgotten,  // what was told holds no more
};
struct DueColumn {
  DueUnit unit = DueUnit::kNotTold;
  Place time = kAbsent;   // argument or field()
  uint8_t again_at = 0;   // where the watcher has what holds from each dispatch on; see WatcherFacts
  Place clock = kAbsent;  // argument
  Place slack = kAbsent;  // argument
};

// kArm without a callback and with kAgainAndAgain: arms only a watcher that is dispatched again and again.
struct Row {
  const char* function;
  LoopRole role;
  Place watcher = kAbsent;     // argument, kResult or stored_at(); without one it has no name
  Place callback = kAbsent;    // argument or field(); kCallbackOf: kResult or stored_at()
  Place descriptor = kAbsent;  // argument or field()
  Place events = kAbsent;      // the same: a mask of Library::events
  Place repeats = kOneTime;    // where Library::persistent does not tell; kSwitch: 0 off, 1 on, -1 one time
  // A field of the watcher that is 0 while it does not wait. kSetCallback: then it is armed at once. With a
  // callback in a field: the library looks there before each dispatch, and the thunk stands there as long as
  // the watcher waits.
  Place active = kAbsent;
  DueColumn due = {};
  // Field that tells which of Library::types it is. kArm without a callback: what is of none of these has one
  // in this type's table, that is called instead; see before_source() in call.cpp.
  Place type = kAbsent;
  Place name = kAbsent;        // field that points to its name; see Library::naming
  Place notify = kAbsent;      // argument: what the library calls, once, when it has done with the callback
  Place loop = kAbsent;        // argument: to whose end the watcher may wait; kFreeLoop: which one ends
  Place references = kAbsent;  // kFreeLoop: a field that counts them; only the last one's end counts
  // Where the function has no such argument: the one that has, to be called in its place. The argument that
  // it takes beyond those stands in front of `inserted_at`. The other numbers are those of this one.
  const char* instead = nullptr;
  int8_t inserted_at = 0;
  uint8_t inserted = 0;
  uint8_t slot = 0;              // tells the callbacks of one watcher apart
  uint8_t stack_words = 0;       // arguments on the stack
  const char* kind = nullptr;    // what it waits for, where the events do not tell
  uint8_t kind_class = 0;        // asynctrace_leaf_class; kDisarm: only watchers of this class
  uint16_t poll_events = 0;      // of poll(2), on the descriptor; where the events do not tell
  bool fails_by_result = false;  // a result other than 0 means that nothing was done
  bool fails_below_0 = false;    // a negative one
  bool zero_ends = false;        // a callback that returns 0 has ended its watcher
  bool error_disarms = false;    // one that returns a negative number
  bool only_programs = false;    // what the library itself does with it means nothing
  bool not_by_loop = false;      // what its loop does, outside of any dispatch: that will tell
  bool renews = false;           // callback in a field: arms anew what waits already
  bool also_disarms = false;     // kFree: even where it has been held
  bool only_sources = false;     // kFree: of the others the library notifies
  bool returns_nothing = false;  // the callback; `instead` asks it whether to go on: 0, no
};

// What a watcher waits for, by the address of a variable that the library exports.
struct WatcherType {
  const char* variable;
  const char* kind;
  uint8_t leaf_class;
};
inline constexpr size_t kMaxTypes = 8;

struct Library {
  const char* name;
  std::span<const char* const> sonames;  // beginnings
  std::span<const EventWord> events = {};
  uint32_t persistent = 0;  // of the events: the watcher is dispatched again and again
  uint8_t slots = 1;        // that its rows use
  std::span<const WatcherType> types = {};
  const char* naming = nullptr;  // soname of a library that names its watchers after their classes
  std::span<const Row> rows;
};

std::span<const Library* const> libraries();

// A user's own rows, as common/loop_hooks.hpp has them, beside those that were added before. While nobody
// looks at modules. False: no memory, too many libraries, or not what asynctrace writes; then none of them
// counts.
bool add_user_rows(const char* rows);
// The last ones that were added, in their order.
std::span<const Row> user_rows();

}  // namespace asynctrace::agent
