// Arbitrary bytes as a core file: whatever is read of it stays inside it, and what the scan takes for a task
// can be read again.
#include "cli/census/core_image.hpp"
#include "cli/census/memory_scan.hpp"
#include "test/fuzz/census_seed.hpp"
#include "test/fuzz/memory_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace asynctrace;
  static fuzz::MemoryFile file;
  file.put(data, size);
  is_core_file(file.path());
  const auto core = open_core_image(file.path());
  if (!core) return 0;
  for (const Module& module : core->process.modules)
    fuzz::require(module.start < module.end, "a module is not empty");
  std::vector<TaskTable> tables = {{fuzz::kTokioTable, 0x100, RuntimeId::kTokio, 16, 0, fuzz::kIdOffset},
                                   {fuzz::kAsyncTaskTable, 0x200, RuntimeId::kAsyncTask, 24, 0, {}}};
  for (const TaskHeader& header : scan_for_tasks(core->process, tables)) {
    const auto again = read_header(*core->process.memory, header.address, *header.table, false);
    fuzz::require(again == header, "a task is read again as it was");
    fuzz::require(state_of(header) != TaskState::kNone, "a task has a state");
    fuzz::require(!is_stuck(header) || state_of(header) == TaskState::kWaiting, "what is stuck waits");
  }
  return 0;
}
