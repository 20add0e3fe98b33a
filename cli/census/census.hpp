// Census: what the memory of a live process and the full debug info of its program tell beyond the agent's
// records. Reads memory without a stop; what differs between two looks is left out. Allocates; takes time
// linear in the size of the debug info, only where there is something to find.
#pragma once

#include <sys/types.h>

#include "cli/snapshot.hpp"
#include "cli/symbols/symbolizer.hpp"
#include "cli/tree/report.hpp"

namespace asynctrace {

// Adds to `snapshot` leaves that the agent could not see, and to those that wait for a lock who holds it or
// why that is not known. `report` is that of `snapshot`, `symbols` what both refer to. `pid`: the live
// process as we see it, 0: it is gone. True if anything was added, so that the report has to be built anew.
bool take_census(const Report& report, Snapshot& snapshot, Symbolizer& symbols, pid_t pid);

}  // namespace asynctrace
