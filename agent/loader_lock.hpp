// The dynamic loader's lock, which it offers to nobody: while it is held, no module comes, goes or is half
// relocated. dlsym() holds it while it asks a symbol of a certain type (IFUNC) for its address; the agent
// exports one, in <arch>_loader_lock.S, that nobody calls.
#pragma once

namespace asynctrace::agent {

// Calls `function(data)` with the lock held. One thread at a time; not where a dlopen() may be waiting for
// this very thread.
void with_loader_lock(void (*function)(void* data), void* data);

}  // namespace asynctrace::agent

// Gives dlsym() some address.
extern "C" void* asynctrace_act_under_loader_lock();
