// What the kernel says that a living program's own epolls watch, beside what the agent has seen of that.
#pragma once

#include "cli/process/traced_process.hpp"
#include "cli/snapshot.hpp"
#include "cli/symbols/symbolizer.hpp"

namespace asynctrace {

// Watchers that the agent has not seen armed are added: added before it came, or by a descriptor that was
// closed while a duplicate of it goes on. Those that the kernel knows no more are taken out: closed behind
// the agent's back. Only of epolls that belong to no runtime or library that tells of its waits itself, which
// is known in two ways: the agent saw such a program add to them, or a thread sleeps in one, called from such
// a module.
void compare_with_epolls(const TracedProcess& process, Snapshot& snapshot, Symbolizer& symbols);

}  // namespace asynctrace
