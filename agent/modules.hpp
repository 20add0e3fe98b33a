// The loaded ELF files, copied once from the loader so that a walk never takes the loader's lock. Read-only
// after start_modules(), so safe in any thread and in a signal handler.
#pragma once

#include <link.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace asynctrace::agent {

struct LoadedModule {
  uint64_t bias;
  uint64_t start;  // run-time range of its segments
  uint64_t end;
  const Elf64_Phdr* headers;
  uint16_t header_count;
  const unsigned char* eh_frame_hdr;  // null: none
  const char* path;                   // "" for the executable
};

// Takes the loader's lock: from the constructor only.
bool start_modules();
std::span<const LoadedModule> modules();
const LoadedModule* find_module(uint64_t address);
const LoadedModule& main_module();

// Writes every module, with its path and build-id, into the segment.
void publish_modules();

// What libunwind calls instead of the loader's dl_iterate_phdr.
int iterate_modules(int (*callback)(dl_phdr_info*, size_t, void*), void* data);

}  // namespace asynctrace::agent
