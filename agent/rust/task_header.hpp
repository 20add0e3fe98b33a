// The first word of a task, as common/task_layout.hpp has it; the layout is checked against the program
// before it is believed.
#pragma once

#include <atomic>
#include <cstdint>

#include "agent/leaves.hpp"
#include "agent/rust/tables.hpp"
#include "common/task_layout.hpp"

namespace asynctrace::agent {

inline const TaskLayout& layout_of(const WakerTable& table) {
  return task_layout(table.runtime);
}

inline std::atomic_ref<uint64_t> task_state(uint64_t header) {
  return std::atomic_ref<uint64_t>(*reinterpret_cast<uint64_t*>(header));
}
// Only while a reference to the task is held.
inline uint64_t load_task_state(uint64_t header) {
  return task_state(header).load(std::memory_order_acquire);
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
