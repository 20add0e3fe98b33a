// The agent's beginning, apart from its constructor: a library that comes late may bring the first runtime,
// and `asynctrace attach` may bring the agent. One thread at a time.
#pragma once

namespace asynctrace::agent {

// Looks for runtimes in every module that is loaded; nothing is changed. False: there is none.
bool find_runtimes();

// Makes the segment; from now on hooks record. Null, or why that cannot be. Takes the loader's lock.
const char* open_segment();

// Tells the segment what has been found, and patches its slots.
void patch_program();

// All of these, and tells `run` how it went. False: the agent stays off for good.
bool start_tracing();

}  // namespace asynctrace::agent
