// ProcessImage: a process as the census reads it: its memory, which parts of it can hold tasks, and its
// modules. Of a live process it is not one instant. Allocates.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <sys/types.h>

#include "cli/census/memory.hpp"
#include "cli/error.hpp"
#include "cli/process/mappings.hpp"
#include "cli/snapshot.hpp"

namespace asynctrace {

struct MemoryRange {
  uint64_t start = 0;
  uint64_t end = 0;
  bool is_stack = false;  // of a thread
};

struct ProcessImage {
  std::unique_ptr<Memory> memory;
  std::vector<MemoryRange> writable;  // private to the process, with pages behind it; by address
  std::vector<Module> modules;        // by address
};

// `pid` as we see it. Errors say why its memory may not be read.
Result<ProcessImage> open_process_image(pid_t pid);

// The ELF files among the mappings, by what their headers in memory say. A path of a file that was deleted
// stays as the kernel gives it.
std::vector<Module> modules_of(std::span<const Mapping> mappings, const Memory& memory);

}  // namespace asynctrace
