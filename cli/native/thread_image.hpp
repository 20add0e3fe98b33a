// ThreadImage: registers and stack of one thread of another process, copied, to be unwound later. A thread
// that sleeps in the kernel is read as it lies; only one that runs is stopped, and goes on before anything is
// made of the copy. Needs what ptrace needs. Linux x86-64.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <sys/types.h>

#include "cli/error.hpp"
#include "cli/native/native_stack.hpp"

namespace asynctrace {

struct ThreadImage {
  // Of a thread that sleeps the kernel tells only stack pointer and program counter.
  FrameRegisters registers;
  uint64_t stack_start = 0;  // address of the first byte of `stack`, at or above the stack pointer's page
  std::vector<std::byte> stack;
  uint64_t stopped_ns = 0;  // how long the thread was held, 0: not at all
};

// `pid`, `tid`: as this process sees them. Errors say why, in words for people; `may_stop` false leaves a
// thread that runs alone.
Result<ThreadImage> copy_thread(pid_t pid, pid_t tid, bool may_stop);
// With all of its registers: stops it even where it sleeps.
Result<ThreadImage> copy_stopped_thread(pid_t pid, pid_t tid);

// Fills in stack_start and stack, as far as it can be read.
void copy_stack(pid_t pid, uint64_t stack_pointer, ThreadImage& image);

// Run-time addresses, innermost first, as return addresses: see native_stack.hpp.
Result<std::vector<uint64_t>> native_stack_of_image(pid_t pid, pid_t tid, const ThreadImage& image);

}  // namespace asynctrace
