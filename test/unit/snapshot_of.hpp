// From a segment built by hand to its snapshot. In most tests one tick is one nanosecond and the process died
// at kDeath, so that every duration is exact.
#pragma once

#include <signal.h>

#include <stdexcept>
#include <utility>

#include "cli/process/death_record.hpp"
#include "cli/read_snapshot.hpp"
#include "test/unit/segment_image.hpp"

namespace asynctrace::test {

inline constexpr uint64_t kDeath = 10'000;
inline constexpr uint8_t kBlockOnKind = static_cast<uint8_t>(segment::TaskKind::kBlockOn) << 4;
inline const ReadOptions kDied{ProcessState::kUnknown, 42};  // and somebody saw it: read() notes the death

inline Snapshot read(SegmentImage& image, const ReadOptions& options = kDied) {
  const TemporaryFile file(image.bytes());
  if (&options == &kDied) record_death(file.path(), {SIGKILL, kDeath});
  auto snapshot = read_snapshot(file.path(), options);
  if (!snapshot) throw std::runtime_error(snapshot.error().message);
  return std::move(*snapshot);
}

inline constexpr uint64_t state(uint64_t since, segment::TaskState state) {
  return since << 2 | static_cast<uint64_t>(state);
}

inline segment::Task waiting_task(uint64_t id) {
  segment::Task task{};
  task.id = id;
  task.address = 0x9000 + id;
  task.state = state(1000, segment::TaskState::kWaiting);
  task.polls = 5;
  task.poller = segment::kNoPoller;
  return task;
}

inline segment::Leaf leaf_of(uint64_t task, uint32_t poll = 5, uint32_t flags = segment::kOwnWaker) {
  return {segment::kLeafLive, flags, task, segment::kNoStack, poll, 900, 700, 0};
}

}  // namespace asynctrace::test
