// Pending operations of Asio and Boost.Asio whose end a callback is waiting for: objects in memory that have
// the address of the function which completes them.
// Allocates; linear in the memory where a program has such functions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/census/process_image.hpp"
#include "cli/coroutines/asio_completions.hpp"
#include "cli/coroutines/asio_queues.hpp"
#include "cli/snapshot.hpp"
#include "cli/symbols/module_files.hpp"

namespace asynctrace {

// A function that completes operations of one type; its address is that in the process.
struct AsioFunction {
  uint64_t address = 0;
  uint64_t size = 0;
  AsioCompletion completion;
};

// By address.
std::vector<AsioFunction> find_asio_functions(const Module& module, const ModuleFiles& files);

struct AsioOperation {
  uint64_t address = 0;
  uint32_t function = 0;  // index into the functions
  bool verified = false;  // its memory is in use, as far as its allocator tells
  uint64_t end = 0;       // of the block that it lies in; 0: not known
};

struct AsioOperations {
  std::vector<AsioOperation> all;  // by address
  AsioQueues queues;
};
// `functions` are by address.
AsioOperations scan_for_operations(const ProcessImage& image, const std::vector<AsioFunction>& functions,
                                   const std::vector<AsioQueueClass>& classes);

}  // namespace asynctrace
