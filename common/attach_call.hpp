// What `asynctrace attach` and `detach` and the agent inside the target say to each other: the CLI writes an
// AttachCall onto the stack of a thread that it holds and has that thread call one of two functions that the
// agent exports with its address.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/loop_hooks.hpp"

namespace asynctrace {

inline constexpr const char* kAttachFunction = "asynctrace_attach";
inline constexpr const char* kDetachFunction = "asynctrace_detach";
// A number of 32 bits, 0 until the library is loaded and its constructor has run: before that nothing in it
// may be called.
inline constexpr const char* kAttachReady = "asynctrace_attach_ready";

enum class AttachStatus : uint32_t {
  kNotRun = 0,      // nobody has answered
  kTracing = 1,     // from now on
  kAlready = 2,     // it was tracing before; nothing has changed
  kNoRuntime = 3,   // nothing to trace in it; nothing has changed
  kOff = 4,         // see reason; nothing has changed
  kDetached = 5,    // every slot holds again what it held
  kNotTracing = 6,  // nothing to detach
  kBusy = 7,        // a thread is at the agent's tables, perhaps this one: nothing has changed
};

struct AttachCall {
  uint32_t size;  // of this struct
  AttachStatus status;
  // The agent stores 1 in `done` with all else written, then waits until `go` is not 0, or nobody holds the
  // thread any more: who does need not stop it at each of the agent's system calls to see where it returns.
  uint32_t done;
  uint32_t go;
  uint64_t max_size;                 // of the segment file, bytes
  char directory[1024];              // for the segment file, zero-terminated; "": the agent chooses
  char reason[128];                  // of kOff, zero-terminated
  char hook_rows[kMaxUserText + 1];  // zero-terminated; "": none
  HookState hooks[kMaxUserRows];     // the agent's answer, in the order of the rows
};
static_assert(sizeof(AttachCall) == 24 + 1024 + 128 + 8192 + 64);

}  // namespace asynctrace
