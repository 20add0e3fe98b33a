// Arbitrary bytes as a core file: whatever is read of it stays inside it, and what the scans take for a task
// or a coroutine can be read again.
#include <algorithm>
#include <vector>

#include "cli/census/core_image.hpp"
#include "cli/census/memory_scan.hpp"
#include "cli/coroutines/frame_scan.hpp"
#include "cli/coroutines/glibc_heaps.hpp"
#include "test/fuzz/census_seed.hpp"
#include "test/fuzz/memory_file.hpp"

namespace {

using namespace asynctrace;

void look_for_coroutines(const ProcessImage& process) {
  std::vector<CoroutineFunction> functions(1);
  functions[0].resume = {fuzz::kResume, fuzz::kResume + 16};
  functions[0].destroys = {fuzz::kDestroy};
  std::vector<uint64_t> addresses;
  for (const CoroutineFrame& frame : scan_for_frames(process, functions)) {
    fuzz::require(is_still_there(*process.memory, frame, functions), "a frame is read again as it was");
    addresses.push_back(frame.address);
  }
  fuzz::require(std::is_sorted(addresses.begin(), addresses.end()), "frames are by address");
  const std::vector<Block> blocks = find_blocks(process, addresses);
  fuzz::require(blocks.size() == addresses.size(), "each frame has its block");
  for (size_t i = 0; i < blocks.size(); ++i)
    fuzz::require(blocks[i].state != BlockState::kInUse || blocks[i].start == addresses[i],
                  "a block in use begins where it was asked for");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
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
  look_for_coroutines(core->process);
  return 0;
}
