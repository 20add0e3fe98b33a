// The tasks of a segment with their leaves, each as it was at one moment. Allocates; never blocks.
#pragma once

#include <vector>

#include "common/segment_reader.hpp"

namespace asynctrace {

// One task and its leaves. Not settled: it kept changing, so leaves may be missing or of another moment.
struct RawTask {
  segment::Task task;
  std::vector<segment::Leaf> leaves;
  bool settled = false;
};

// By id. Tasks change while they are read: one counts as read when it was in the same state before and after
// its leaves were; the rest is read again, a bounded number of times.
std::vector<RawTask> read_tasks(const SegmentReader& reader);

}  // namespace asynctrace
