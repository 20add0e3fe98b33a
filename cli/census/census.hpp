// Census: what the memory of a live process and the full debug info of its program tell beyond the agent's
// records. Reads memory without a stop; what differs between two looks is left out, or marked. Allocates;
// takes time linear in the size of memory and of debug info, only where there is something to find.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "cli/census/block_on.hpp"
#include "cli/census/dwarf_types.hpp"
#include "cli/census/process_image.hpp"
#include "cli/snapshot.hpp"
#include "cli/symbols/symbolizer.hpp"
#include "cli/tree/report.hpp"

namespace asynctrace {

struct CensusScope {
  size_t tables = 0;           // types of tasks that were looked for
  size_t unknown_layouts = 0;  // types of tasks that could not be, for their runtime is too old
  bool has_types = false;      // debug info tells what some of the tasks wait for
  std::map<uint32_t, std::unique_ptr<DwarfTypes>> types;  // by module; null: it has none
  std::map<uint32_t, BlockOns> block_ons;                 // by module, of those with types
};

// Adds to `snapshot` leaves that the agent could not see, and to those that wait for a lock who holds it or
// why that is not known. `report` is that of `snapshot`, `symbols` what both refer to. `memory` is that of
// the process; null: it is gone. `scope`: of the census before, if there was one. True if anything was added,
// so that the report has to be built anew.
bool take_census(const Report& report, Snapshot& snapshot, Symbolizer& symbols, const Memory* memory,
                 CensusScope scope = {});

// The threads of a process, read when they are asked for.
using ThreadsOf = std::function<std::vector<NativeThread>()>;

// Adds to `snapshot` the tasks in memory that it does not have yet, as not observed, with what they wait for
// where types tell; the futures of block_on too. `symbols` are those of the snapshot's modules.
CensusScope add_tasks_in_memory(const ProcessImage& image, const ThreadsOf& threads, Snapshot& snapshot,
                                Symbolizer& symbols);

}  // namespace asynctrace
