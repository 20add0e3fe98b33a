// The threads of a core file: their native stacks, and which task each was polling. Allocates.
#pragma once

#include <span>

#include "cli/census/core_image.hpp"
#include "cli/native/native_stack.hpp"
#include "cli/snapshot.hpp"
#include "cli/symbols/symbolizer.hpp"

namespace asynctrace {

// Adds them to `snapshot`, whose tasks are those of the core, and the crash if there was one. A task is named
// only where one alone can be meant.
void add_core_threads(const CoreImage& core, std::span<const NativeThread> threads, Snapshot& snapshot,
                      Symbolizer& symbols);

}  // namespace asynctrace
