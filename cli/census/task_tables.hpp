// The task tables of a loaded module: for each type of future the static table that its tasks point to, found
// by the names of the functions in it. Reads the module's files; nothing of the process. Allocates.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cli/snapshot.hpp"
#include "cli/symbols/module_files.hpp"

namespace asynctrace {

// Addresses are those in the process.
struct TaskTable {
  uint64_t address = 0;
  uint64_t poll_function = 0;
  RuntimeId runtime = RuntimeId::kUnknown;
  // Where a task's header has the address of its table, and its state word.
  uint64_t offset_in_task = 0;
  uint64_t state_offset = 0;
  // From a task's header to the number that the runtime itself gave it.
  std::optional<uint64_t> id_offset;
};

// async-task's header: state, awaiter (a waker of two words) and table, in an order that rustc chooses: the
// first row up to some version, which the scan tells by what it finds.
struct HeaderOrder {
  uint64_t offset_in_task, state_offset;
};
inline constexpr HeaderOrder kAsyncTaskOrders[] = {{24, 0}, {0, 8}};

struct TaskTables {
  std::vector<TaskTable> tables;
  size_t unknown_layouts = 0;  // tables of runtimes whose tasks are laid out in a way that is not known
};

TaskTables find_task_tables(const Module& module, const ModuleFiles& files);

}  // namespace asynctrace
