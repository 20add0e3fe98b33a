// Which thread of a process can be made to load a library without harm: one that holds no lock that the
// loader or the allocator takes, on a stack with room. One that waits in a system call is preferred,
// epoll_wait most of all: its call can be taken up again, and its stack be judged while it sleeps, before it
// is stopped.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include "cli/attach/held_thread.hpp"
#include "cli/attach/loaded_files.hpp"
#include "cli/error.hpp"

namespace asynctrace {

// Addresses of the target that its threads' stacks are judged by.
struct Places {
  const LoadedFiles& files;
  const Mapping& libc;
  const Mapping* loader;  // null: not found
  uint64_t sigreturn;     // where libc ends signal handlers, so a return address of each that is under way
};

// One of them, held. Tries those that there are, again and again until the deadline; the error tells what
// stood in the way last.
Result<HeldThread> hold_fit_thread(pid_t pid, const Places& places, Deadline deadline);

// Why a thread with this stack (return addresses, innermost first) may hold such a lock, in words for people;
// "": it does not. `waits`: in a system call that a program may wait in for long.
std::string unfit_stack(const std::vector<uint64_t>& pcs, const Places& places, bool waits);

}  // namespace asynctrace
