// What a Rust symbol's name says about the roles that its function may play in a waker or task table. Works
// on mangled names, legacy (_ZN..17h..E) and v0 (_R..). Any thread; allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace asynctrace {

// Roles are bits: with identical code folding one address carries several names.
enum Role : uint32_t {
  kCloneRole = 1,  // last component begins with "clone"
  kWakeRole = 2,   // "wake"
  kDropRole = 4,   // "drop"
  kPollRole = 8,   // a slot of a runtime's task table: polls the task, ..
  kScheduleRole = 16,
  kDeallocRole = 32,
  kOutputRole = 64,  // hands out the task's output, or registers who waits for it
  kShutdownRole = 128,
  kTokioWaker = 256,  // of a task's waker
  kAsyncTaskWaker = 512,
  kBlockOnWaker = 1024,  // of a thread that polls a future itself
  kTableStartRole = 2048,  // a slot that comes before kPollRole's in its table
};

uint32_t roles_of(const char* mangled);

// Whether the names of a symbol table, `size` bytes, hold the poll function of a runtime that we know. Far
// cheaper than a look at each name.
bool names_a_runtime(const char* names, size_t size);

// Whether they hold the name that every Rust program has.
bool names_rust(const char* names, size_t size);

}  // namespace asynctrace
