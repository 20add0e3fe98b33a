// The loaded ELF files, copied from the loader so that a walk never takes the loader's lock. Entries are only
// added, and marked when their module goes; so looking one up is safe in any thread and in a signal handler.
#pragma once

#include <link.h>

#include <atomic>
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
  uint32_t build_id_size;             // 0: has none
  uint8_t build_id[32];
  bool late;                       // came by dlopen, so it may go again
  std::atomic<bool> has_own_loop;  // tells of its waits otherwise than by what it calls of libc
  std::atomic<bool> frees_frames;  // of coroutines, and its calls for that have not been patched yet
  std::atomic<bool> unloaded;      // nothing of it may be touched; it may come back
};

// Takes the loader's lock: from the constructor only.
bool start_modules();

// Every module that ever was there, in the order of their numbers.
std::span<LoadedModule> modules();
// Only what is loaded now.
const LoadedModule* find_module(uint64_t address);
const LoadedModule& main_module();
// The agent itself.
const LoadedModule* agent_module();

// Whether its memory may be read. For late ones the kernel is asked: a library can go without our notice when
// libc itself closes it.
bool is_mapped(const LoadedModule& module);

// Looks at the loader's list again; `gone` and `come` are called with the modules that are not there any
// more, then with new ones and with those that have come back. Takes the loader's lock; one thread at a time.
void refresh_modules(void (*gone)(LoadedModule&), void (*come)(LoadedModule&));

// Writes modules, with path and build-id, into the segment, from the first one that it does not know yet.
void publish_modules();
// For a new segment.
void republish_modules();

// What libunwind calls instead of the loader's dl_iterate_phdr.
int iterate_modules(int (*callback)(dl_phdr_info*, size_t, void*), void* data);

}  // namespace asynctrace::agent
