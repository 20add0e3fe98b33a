// The agent's beginning, apart from its constructor: a library that comes late may bring the first runtime,
// and `asynctrace attach` may bring the agent. One thread at a time.
#pragma once

namespace asynctrace::agent {

struct LoadedModule;

// Loads what walks stacks. Takes the loader's lock. False: it cannot be had.
bool prepare_unwinder();
bool unwinder_is_ready();

// Looks for runtimes in every module that is loaded; nothing is changed. False: there is none, but for poll
// loops of libraries, which count once they are used.
bool find_runtimes();
bool find_runtime(LoadedModule& module);

// Makes the segment; from now on hooks record. Null, or why that cannot be. Takes the loader's lock
// where the unwinder is not ready yet.
const char* open_segment();

// Tells the segment what has been found, and patches its slots.
void patch_program();

// All of these, and tells `run` how it went. False: the agent stays off for good.
enum class Patching { kNow, kLater };  // later: another thread may be at the tables of modules and slots
bool start_tracing(Patching patching = Patching::kNow);

}  // namespace asynctrace::agent
