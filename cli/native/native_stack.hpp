// Native stacks: unwinds a thread that is held by ptrace, or one of a core file, by libdw. Reads the other
// process's memory and the ELF files that it maps; changes nothing. Not thread-safe: a thread held by ptrace
// can be read only by the thread that holds it.
//
// Addresses are innermost first, in the form of return addresses: the instruction that is meant is the one
// before. Where a stack was interrupted and not called from, its address is raised by one.
#pragma once

#include <cstdint>
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

struct CoreThread {
  pid_t tid = 0;
  std::vector<uint64_t> pcs;             // may be empty
  std::vector<uint64_t> stack_pointers;  // in each of these frames, 0: unknown
};

// The same of every thread.
Result<std::vector<CoreThread>> native_stacks_of_core(const std::string& core, const std::string& executable);

}  // namespace asynctrace
