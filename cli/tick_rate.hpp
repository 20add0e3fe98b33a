// What a tick of a segment's clock is, as well as it can be known. Reads clocks; never blocks.
#pragma once

#include <time.h>

#include <cstdint>

#include "common/segment_reader.hpp"

namespace asynctrace {

uint64_t clock_ns(clockid_t id);

// The rate of the agent's two readings; where they are too close together, or the process still runs, that of
// the first and now, which only the boot it was made in can tell. The file of a dead process thus reads the
// same each time.
TickRate best_rate(const SegmentReader& reader, bool lives);

// For a copy that will be read elsewhere, of a process that is dead: what best_rate() knows here goes into
// it.
void pin_rate(segment::Header& header);

}  // namespace asynctrace
