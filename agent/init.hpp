// The agent's beginning, apart from its constructor: a library that comes late may bring the first runtime.
#pragma once

namespace asynctrace::agent {

// Makes the segment, patches the slots that were found, and tells `run` how it went. Takes the loader's lock.
// One thread at a time; false: the agent stays off for good.
bool start_tracing();

}  // namespace asynctrace::agent
