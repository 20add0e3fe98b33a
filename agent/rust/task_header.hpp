// The first word of a tokio task: its state and reference count. The layout has been the same since tokio 1.0
// (tokio/src/runtime/task/state.rs); it is still checked against the program before it is believed.
#pragma once

#include <atomic>
#include <cstdint>

#include "agent/leaves.hpp"
#include "agent/rust/tables.hpp"

namespace asynctrace::agent {

inline constexpr uint64_t kTaskRunning = 1;
inline constexpr uint64_t kTaskComplete = 2;
inline constexpr uint64_t kTaskNotified = 4;
inline constexpr uint64_t kTaskJoinInterest = 8;
inline constexpr uint64_t kTaskReference = 64;

// Only while a reference to the task is held.
inline std::atomic_ref<uint64_t> task_state(uint64_t header) {
  return std::atomic_ref<uint64_t>(*reinterpret_cast<uint64_t*>(header));
}
inline uint64_t load_task_state(uint64_t header) {
  return task_state(header).load(std::memory_order_acquire);
}

// Whether anybody but the scheduler, the JoinHandle and one reference of the caller's refers to the task.
inline segment::References other_references(uint64_t state) {
  const uint64_t usual = 2 + ((state & kTaskJoinInterest) != 0 ? 1 : 0);
  return state / kTaskReference <= usual ? segment::References::kNone : segment::References::kSome;
}

// Whether this table's tasks have shown the layout above.
bool layout_is_known(const WakerTable& table);

// A leaf's last waker is about to be dropped, not woken: tells readers what is left to wake its task.
void note_dropped_reference(const LeafEntry& entry);

}  // namespace asynctrace::agent
