// What a Rust symbol's name says about the roles that its function may play in a waker or task table. Works
// on mangled names, legacy (_ZN..17h..E) and v0 (_R..). Any thread; allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace asynctrace::agent {

// Roles are bits: with identical code folding one address carries several names.
enum Role : uint32_t {
  kCloneRole = 1,   // last component begins with "clone"
  kWakeRole = 2,    // "wake"
  kDropRole = 4,    // "drop"
  kTokioWaker = 8,  // of tokio's task waker
  kTokioPoll = 16,  // tokio::runtime::task::raw::poll, ..
  kTokioSchedule = 32,
  kTokioDealloc = 64,
  kTokioOutput = 128,  // try_read_output
  kTokioShutdown = 256,
  kTokioBlockOn = 512,   // wakers of the threads that block_on a future
  kForeignWaker = 1024,  // of another executor's tasks
};

uint32_t roles_of(const char* mangled);

// Whether the names of a symbol table, `size` bytes, hold the poll function of a runtime that we know. Far
// cheaper than a look at each name.
bool names_a_runtime(const char* names, size_t size);

}  // namespace asynctrace::agent
