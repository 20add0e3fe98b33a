// Native stacks: unwinds a thread that is held by ptrace, or one of a core file, by libdw. Reads the other
// process's memory and the ELF files that it maps; changes nothing. Not thread-safe: a thread held by ptrace
// can be read only by the thread that holds it.
//
// Addresses are innermost first, in the form of return addresses: the instruction that is meant is the one
// before. Where a stack was interrupted and not called from, its address is raised by one.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "cli/error.hpp"

namespace asynctrace {

// Deeper stacks are cut off here: what overflowed its stack has hundreds of thousands of frames.
inline constexpr size_t kMaxNativeFrames = 512;

// Thread `tid` of process `pid`, which must be in a ptrace-stop of the calling thread. As far out as unwind
// tables reach, at least one address.
Result<std::vector<uint64_t>> native_stack_of_stopped_thread(pid_t pid, pid_t tid);

struct CoreStack {
  pid_t pid = 0;
  pid_t tid = 0;  // the thread that the signal killed
  std::vector<uint64_t> pcs;
};

// `executable`: of the process that left the core file; the other files are those that the core names, where
// they still are the same.
Result<CoreStack> native_stack_of_core(const std::string& core, const std::string& executable);

// By their numbers in DWARF, the program counter last, as far as they are known in a frame.
using FrameRegisters = std::array<std::optional<uint64_t>, 17>;
inline constexpr size_t kStackPointer = 7, kProgramCounter = 16;  // x86-64

struct NativeThread {
  pid_t tid = 0;
  std::vector<uint64_t> pcs;              // empty: it runs, or could not be walked
  std::vector<FrameRegisters> registers;  // in each of these frames
  bool is_whole = false;                  // walked to its outermost frame
  uint64_t stopped_ns = 0;                // how long it was held for that, 0: not at all
  std::string unread;                     // why it has no frames, where that is known
};

// The same of every thread.
Result<std::vector<NativeThread>> native_stacks_of_core(const std::string& core,
                                                        const std::string& executable);
// Of a live process, as its threads sleep; `may_stop` holds those that run, one after the other, each for as
// long as its stack takes to be copied. Without it they are there without frames.
std::vector<NativeThread> native_stacks_of_process(pid_t pid, bool may_stop);
// Of a thread of a live process that is held for all of its registers, whatever it does.
Result<NativeThread> native_stack_of_held_thread(pid_t pid, pid_t tid);

}  // namespace asynctrace
