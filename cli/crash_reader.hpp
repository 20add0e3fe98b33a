// What a segment tells of a crash: see segment::Crash. Part of read_snapshot(); reads, never writes.
#pragma once

#include "cli/snapshot.hpp"
#include "common/segment_reader.hpp"

namespace asynctrace {

// Whether a process that this signal ends has made a mistake.
bool is_crash_signal(int signal);

// Whether the process ended in a call of abort(), by what it recorded itself and what `run` saw of its end.
// `known`: what else is known of it.
bool ended_in_abort(const SegmentReader& reader, ProcessState known);

// Of a process that crashed; its threads must be in `snapshot` already, its stack is appended there.
Crash read_crash(const SegmentReader& reader, bool in_abort, Snapshot& snapshot);

}  // namespace asynctrace
