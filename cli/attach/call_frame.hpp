// CallFrame: what has to lie on the stack of a held thread, and in its registers, for it to call a function
// of its process and afterwards to be where it was, by itself: whoever holds it may be gone by then. Pure;
// one file per processor.
//
// Both ways lead through sigreturn, the system call that ends a signal handler: it sets every register, the
// floating-point state and the signal mask at once. The function's return address is that of libc's own
// sigreturn code, so no code is written and nothing but memory below the stack pointer changes.
//
//   stack pointer of the thread, its red zone
//   data          what the function is given
//   state         of the floating-point unit, as it was
//   return frame  every register as it was, the mask as it was; an interrupted system call begins again
//   address of sigreturn     <- stack pointer in the function
//   entry frame   the function, its arguments, every signal blocked    <- stack pointer at the start
//
// The function's own stack overwrites the entry frame, which has served; a signal handler that is run before
// it has finds its stack below.
#pragma once

#include <sys/user.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace asynctrace {

struct ThreadState {
  user_regs_struct registers{};
  std::vector<std::byte> extended;  // NT_X86_XSTATE
  uint64_t signal_mask = 0;
};

inline constexpr size_t kMaxCallData = 9472;  // a path, or an AttachCall

struct CallFrame {
  uint64_t start = 0;            // address of the first byte
  std::vector<std::byte> bytes;  // all of it, without the data
  uint64_t data = 0;             // address of kMaxCallData bytes
  uint64_t entry = 0;            // address of the entry frame
  std::vector<std::byte> entry_bytes;
  uint64_t end_stack_pointer = 0;  // in the sigreturn that ends the call
  user_regs_struct enter{};        // makes the thread go
  user_regs_struct put_back{};     // ends the call at once, wherever it is
};

// Two functions called one after the other in one stop have the same return frame, byte for byte.
CallFrame make_call_frame(const ThreadState& state, uint64_t sigreturn, uint64_t function, uint64_t flags);

// The code of sigreturn in libc.
std::string_view sigreturn_code();
// Is the thread in the sigreturn that ends the call?
bool is_end_of(const CallFrame& frame, const user_regs_struct& registers);

// With these the kernel takes up an interrupted system call again, or, where a handler is run first, ends it
// as it would have without us.
user_regs_struct resuming(const user_regs_struct& at_stop);

// The same where the call waits for a time: with what is left of it after `waited`, where the call is given
// its time in a register, or has put what is left where it was asked to. A call that does neither begins its
// time anew. Only where nobody will look at that register afterwards, as in the functions of libc.
user_regs_struct with_time_left(const user_regs_struct& at_stop, std::chrono::nanoseconds waited);

// The number of the system call that the registers say was interrupted; -1: none.
long interrupted_call(const user_regs_struct& registers);

// Bytes of stack that the loader and the agent may need, and that a thread must have.
inline constexpr uint64_t kStackNeeded = 192 << 10;

}  // namespace asynctrace
