// Finds the suspended C++20 coroutines of a process in its memory, without any help from the program: the
// symbol table is enough, debug info adds lines and who awaits whom. Reads without a stop. Allocates; takes
// time linear in the size of memory.
#pragma once

#include "cli/census/process_image.hpp"
#include "cli/coroutines/running_frames.hpp"
#include "cli/snapshot.hpp"
#include "cli/symbols/symbolizer.hpp"

namespace asynctrace {

struct CoroutineScope {
  size_t functions = 0;  // that were looked for
};

// Adds to `snapshot` a task for each coroutine that no other one awaits, with all that it awaits. `symbols`
// are those of the snapshot's modules.
CoroutineScope add_coroutines_in_memory(const ProcessImage& image, const ThreadReader& threads,
                                        Snapshot& snapshot, Symbolizer& symbols);

}  // namespace asynctrace
