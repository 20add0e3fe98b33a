// The hooks behind <arch>_calls.S: before and after a library function that the agent stands before, and
// before and after a callback of the program that the library calls. They see the registers of the call and
// may change what stands in them. Neither a function nor a callback of the table has floating-point arguments
// or results.
#pragma once

#include <cstdint>

namespace asynctrace::agent {

inline constexpr int kRegisterArguments = 6;

// As the assembly lays it out on the stack of the call.
struct CallRegisters {
  uint64_t arguments[kRegisterArguments];
  uint64_t vector_count;  // of a call with variable arguments
  uint64_t number;        // of the thunk
  uint64_t results[2];
  // Of the hook that runs before, for the one that runs after.
  uint32_t watcher;
  bool is_recorded;
  bool is_begun;
  bool was_armed;
  uint64_t outer_call;
};
static_assert(sizeof(CallRegisters) == 96);

struct CallTarget {
  void* function;
  uint64_t stack_words;  // arguments on the stack, to be passed on
};

}  // namespace asynctrace::agent

extern "C" {
// `frame` is where the caller's frame pointer was pushed, right below the return address.
asynctrace::agent::CallTarget asynctrace_before_call(asynctrace::agent::CallRegisters* call, uint64_t* frame);
void asynctrace_after_call(asynctrace::agent::CallRegisters* call, uint64_t* frame);
asynctrace::agent::CallTarget asynctrace_before_dispatch(asynctrace::agent::CallRegisters* call,
                                                         uint64_t* frame);
void asynctrace_after_dispatch(asynctrace::agent::CallRegisters* call, uint64_t* frame);
// Where the assembly calls the program's callback; for its range of addresses.
void asynctrace_dispatch();
extern const char asynctrace_call_return[];      // where the library's function returns to
extern const char asynctrace_dispatch_return[];  // where the callback returns to
}
