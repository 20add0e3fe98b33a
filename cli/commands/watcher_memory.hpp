// What the agent cannot see of watchers, looked up in the memory of the living process.
#pragma once

#include "cli/census/memory.hpp"
#include "cli/snapshot.hpp"

namespace asynctrace {

// A callback that was changed behind the agent's back is the one that stands there now; what has ended
// unseen is taken out. What cannot be read stays as it is, with its doubt.
void look_at_watchers(const Memory& memory, Snapshot& snapshot);

}  // namespace asynctrace
