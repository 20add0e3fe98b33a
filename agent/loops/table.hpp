// What the agent knows of the poll loops of C and C++ libraries: one row for each function of theirs that it
// stands before. A new library is new rows, and no code. Constant data; any thread.
#pragma once

#include <cstdint>
#include <span>

namespace asynctrace::agent {

enum class LoopRole : uint8_t {
  kSetCallback,  // names the watcher's callback: nothing is armed yet
  kArm,          // from now on the watcher waits; may name its callback, too
  kDisarm,       // it waits no more
  kOnce,         // arms a watcher that ends with its first dispatch
  kFree,         // the watcher is gone
  kLoop,         // waits and dispatches until it returns; its watcher is the loop
  kCallbackOf,   // gives the program its callback back
};

// Arguments are numbered from 0; those from 6 on lie on the stack.
inline constexpr int8_t kAbsent = -1;
inline constexpr int8_t kResult = 100;  // what the function returns
// What the function stores where argument `n` points.
constexpr int8_t stored_at(int8_t n) {
  return static_cast<int8_t>(kResult + 1 + n);
}

// How often an armed watcher is dispatched before it waits no more.
inline constexpr int8_t kAgainAndAgain = -2;
inline constexpr int8_t kOneTime = -1;  // a number from 0 on: one time where that argument is 0

// kArm without a callback and with kAgainAndAgain: arms only a watcher that is dispatched again and again.
struct Row {
  const char* function;
  LoopRole role;
  int8_t watcher = kAbsent;      // argument, kResult or stored_at(); kOnce without: it has no name
  int8_t callback = kAbsent;     // argument; kCallbackOf: kResult or stored_at()
  int8_t descriptor = kAbsent;   // argument
  int8_t events = kAbsent;       // argument: a mask of Library::events
  int8_t repeats = kOneTime;     // where Library::persistent does not tell
  uint8_t slot = 0;              // tells the callbacks of one watcher apart
  uint8_t stack_words = 0;       // arguments on the stack
  const char* kind = nullptr;    // what it waits for, where the events do not tell
  uint8_t kind_class = 0;        // asynctrace_leaf_class; kDisarm: only watchers of this class
  bool fails_by_result = false;  // a result other than 0 means that nothing was done
  bool zero_ends = false;        // a callback that returns 0 has ended its watcher
  bool only_programs = false;    // what the library itself does with it means nothing
};

struct EventWord {
  uint32_t bit;
  const char* word;
  uint8_t leaf_class;  // asynctrace_leaf_class
};

struct Library {
  const char* name;
  std::span<const char* const> sonames;  // beginnings
  std::span<const EventWord> events;
  uint32_t persistent;  // of the events: the watcher is dispatched again and again
  uint8_t slots;        // that its rows use
  std::span<const Row> rows;
};

std::span<const Library> libraries();

}  // namespace asynctrace::agent
