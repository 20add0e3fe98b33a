// Finds tasks in memory: whatever points to a task table and looks like the header of a task that has not
// ended. Linear in the memory. Trusts nothing that it reads; nothing here stops the process.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "cli/census/process_image.hpp"
#include "cli/census/task_tables.hpp"

namespace asynctrace {

// One look at a task's header.
struct TaskHeader {
  uint64_t address = 0;  // of the header: the data pointer of its wakers
  const TaskTable* table = nullptr;
  uint64_t state = 0;                      // its state word, see task_layout()
  std::optional<uint64_t> native_id = {};  // the number that its runtime gave it
  uint64_t queue_next = 0;                 // of tokio's: the task behind it in a queue
  uint64_t owner = 0;  // of tokio's: number of the runtime's list that it is in, 0: of none

  bool operator==(const TaskHeader&) const = default;
};

TaskState state_of(const TaskHeader& header);
// A fact of a task that waits: nothing can wake it.
bool is_stuck(const TaskHeader& header);

// Nothing: there is no task, or none that has not ended. `on_stack`: `address` lies in a thread's stack.
std::optional<TaskHeader> read_header(const Memory& memory, uint64_t address, const TaskTable& table,
                                      bool on_stack);

// By the order in which their runtimes numbered them, then by address. `tables`, whose offsets are mended,
// must outlive the result.
std::vector<TaskHeader> scan_for_tasks(const ProcessImage& image, std::span<TaskTable> tables);

// The addresses of the words that hold one of `values`, which must be sorted: what scan_for_tasks() begins
// with.
struct Hit {
  uint64_t address = 0;
  size_t value = 0;  // index into the values
  bool on_stack = false;
};
std::vector<Hit> scan_for_words(const Memory& memory, std::span<const MemoryRange> ranges,
                                std::span<const uint64_t> values);

}  // namespace asynctrace
