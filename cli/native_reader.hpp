// What the native API told of tasks and leaves, and what is known of the watchers of poll loops, read from a
// segment beside the records that all runtimes share.
#pragma once

#include <functional>
#include <optional>
#include <unordered_map>

#include "cli/due.hpp"
#include "cli/snapshot.hpp"
#include "common/segment_reader.hpp"

namespace asynctrace {

class NativeReader {
 public:
  // Adds to `snapshot.stacks` and `snapshot.labels`; both arguments must outlive it.
  NativeReader(const SegmentReader& reader, Snapshot& snapshot) : reader_(reader), snapshot_(snapshot) {}

  // Reads the records of all tasks. Call once, before the others.
  void read_tasks();
  std::optional<NativeTask> task(uint64_t id) const;
  std::optional<Watcher> watcher(uint64_t id) const;
  // How long until it is to be called, where it waits; see due_in_ns().
  std::optional<int64_t> due_in_ns(uint64_t id, uint64_t waiting_ns, bool is_first_wait,
                                   const EndOfTime& end) const;
  // Adds what led to the last arming. `stack` as Builder of read_snapshot.cpp has it: from a number in the
  // segment to an index into Snapshot::stacks.
  void add_causes(uint64_t id, const std::function<std::optional<uint32_t>(uint32_t)>& stack,
                  Watcher& watcher);

  // Of segment::Leaf::flags: index into Snapshot::labels.
  std::optional<uint32_t> label(uint32_t leaf_flags);

 private:
  void read_watchers();
  // Of one return address.
  std::optional<uint32_t> stack_of(uint64_t site);

  const SegmentReader& reader_;
  Snapshot& snapshot_;
  std::unordered_map<uint64_t, NativeTask> tasks_;
  std::unordered_map<uint64_t, Watcher> watchers_;
  std::unordered_map<uint64_t, segment::Watcher> records_;  // of the same
  std::unordered_map<uint64_t, uint32_t> stacks_;
  std::unordered_map<uint32_t, uint32_t> labels_;
};

}  // namespace asynctrace
