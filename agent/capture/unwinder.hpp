// The only file pair that knows libunwind. It is loaded privately (its exported _Unwind_* and backtrace never
// become visible to the target) and tamed through its own GOT: it asks the agent for the list of modules
// instead of the loader, and its file and signal calls are answered from known ranges, so it holds no
// descriptor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace asynctrace::agent {

// Loads and tames the library. Takes the loader's lock; false: not to be had.
bool start_unwinder();

// One physical frame: where it returns to, and its canonical frame address (the caller's stack pointer).
struct WalkedFrame {
  uint64_t pc;
  uint64_t cfa;
};

enum class WalkEnd : uint8_t {
  kRoot,       // reached `root`
  kOutermost,  // reached the start of the thread
  kBroken,     // the unwind tables ended before that
  kFull,       // `frames` was too small
};

struct Walk {
  size_t count;
  WalkEnd end;
};

// Walks from the frame of the calling hook's caller, given by the stack pointer it will have on return, up to
// the last frame below `root` (0: to the start of the thread). Innermost first. `stack_end` bounds what may
// be read of the stack. `space` is scratch memory of at least kUnwindSpace bytes, 16-aligned. Any thread;
// takes no lock of the loader.
inline constexpr size_t kUnwindSpace = 4096;
Walk walk_stack(void* space, uint64_t caller_sp, uint64_t root, uint64_t stack_end,
                std::span<WalkedFrame> frames);

// Of a function that has called another, once that has returned.
struct CallerRegisters {
  uint64_t return_address;
  uint64_t stack_pointer;
  uint64_t rbp, rbx, r12, r13, r14, r15;
};

// Walks from the frame with these registers to the start of the thread, across signal handlers. The stack may
// be damaged, so the kernel is asked before each step whether the memory is there. Addresses as of returns:
// of a frame that a signal interrupted, one more than its pc. CFAs are left out. One thread at a time per
// `space`.
Walk walk_registers(void* space, const CallerRegisters& registers, std::span<WalkedFrame> frames);

}  // namespace asynctrace::agent
