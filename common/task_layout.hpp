// The first word of a Rust task: its state and reference count. One row for each runtime. Plain data, any
// thread.
#pragma once

#include <cstdint>

#include "common/segment.hpp"

namespace asynctrace {

struct TaskLayout {
  uint64_t reference;  // one reference
  uint64_t running;    // bits
  uint64_t ended;
  uint64_t scheduled;
  uint64_t join_interest;  // set: the JoinHandle has a reference; 0: it never has
  uint64_t scheduler_references;
};

inline const TaskLayout& task_layout(segment::RuntimeId runtime) {
  static constexpr TaskLayout kLayouts[] = {
      {},                        // kUnknown
      {64, 1, 2, 4, 8, 1},       // tokio/src/runtime/task/state.rs, since 1.0
      {256, 2, 4 | 8, 1, 0, 0},  // async-task/src/state.rs, since 1.0: completed or closed
  };
  const auto row = static_cast<uint32_t>(runtime);
  return kLayouts[row < sizeof(kLayouts) / sizeof(*kLayouts) ? row : 0];
}

// Whether anybody but the scheduler, the JoinHandle and `own` references of the caller's refers to the task.
inline segment::References other_references(const TaskLayout& layout, uint64_t state, uint64_t own) {
  const uint64_t join_handle = (state & layout.join_interest) != 0 ? 1 : 0;
  return state / layout.reference <= layout.scheduler_references + join_handle + own
             ? segment::References::kNone
             : segment::References::kSome;
}

}  // namespace asynctrace
