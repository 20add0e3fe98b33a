// The tasks of a segment with their leaves, each as it was at one moment. Allocates; never blocks.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "common/segment_reader.hpp"

namespace asynctrace {

inline constexpr uint32_t kNoLeaf = UINT32_MAX;

struct RawLeaf {
  segment::Leaf leaf;
  uint32_t next = kNoLeaf;  // of the same task, index into RawTasks::leaves
};

// One task. Not settled: it kept changing, so leaves may be missing or of another moment.
struct RawTask {
  segment::Task task;
  uint32_t slot;
  uint32_t first_leaf = kNoLeaf;
  uint32_t last_leaf = kNoLeaf;
  bool settled = false;
  bool ended = false;  // while it was read
};

// Of a million tasks the memory is to be of use again: that of tasks, piece by piece, while they are turned
// into something else; that of leaves, which stay until then, at once.
struct RawTasks {
  std::deque<RawTask> tasks;  // by id
  std::vector<RawLeaf> leaves;
};

// Tasks change while they are read: one counts as read when it was in the same state before and after its
// leaves were; the rest is read again, a bounded number of times.
RawTasks read_tasks(const SegmentReader& reader);

}  // namespace asynctrace
