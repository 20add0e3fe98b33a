// The first word of a task: its state and reference count. One row for each runtime; the layout is checked
// against the program before it is believed.
#pragma once

#include <atomic>
#include <cstdint>

#include "agent/leaves.hpp"
#include "agent/rust/tables.hpp"

namespace asynctrace::agent {

struct TaskLayout {
  uint64_t reference;  // one reference
  uint64_t running;    // bits
  uint64_t ended;
  uint64_t scheduled;
  uint64_t join_interest;  // set: the JoinHandle has a reference; 0: it never has
  uint64_t scheduler_references;
};

inline constexpr TaskLayout kTaskLayouts[] = {
    {},                        // kUnknown
    {64, 1, 2, 4, 8, 1},       // tokio/src/runtime/task/state.rs, since 1.0
    {256, 2, 4 | 8, 1, 0, 0},  // async-task/src/state.rs, since 1.0: completed or closed
};

inline const TaskLayout& layout_of(const WakerTable& table) {
  return kTaskLayouts[static_cast<uint32_t>(table.runtime)];
}

inline std::atomic_ref<uint64_t> task_state(uint64_t header) {
  return std::atomic_ref<uint64_t>(*reinterpret_cast<uint64_t*>(header));
}
// Only while a reference to the task is held.
inline uint64_t load_task_state(uint64_t header) {
  return task_state(header).load(std::memory_order_acquire);
}

// Whether anybody but the scheduler, the JoinHandle and one reference of the caller's refers to the task.
inline segment::References other_references(const TaskLayout& layout, uint64_t state) {
  const uint64_t join_handle = (state & layout.join_interest) != 0 ? 1 : 0;
  return state / layout.reference <= layout.scheduler_references + join_handle + 1
             ? segment::References::kNone
             : segment::References::kSome;
}

// Whether this table's tasks have shown their runtime's layout.
inline bool layout_is_known(const WakerTable& table) {
  return table.layout.load(std::memory_order_relaxed) == LayoutState::kShown;
}

// A task that is scheduled and about to run, or runs already, held by its caller: takes a reference to it, so
// that it can be read after the poll, which may free it. Null, and nothing taken: the waker table is not
// known yet.
enum class HeldTask { kScheduled, kRunning };
WakerTable* hold_task(const PollFunction& function, void* header, HeldTask state);
void let_go_of_task(const WakerTable& table, void* header);

// A leaf's last waker is about to be dropped, not woken: tells readers what is left to wake its task. True:
// nothing is.
bool note_dropped_reference(const LeafEntry& entry);

}  // namespace asynctrace::agent
