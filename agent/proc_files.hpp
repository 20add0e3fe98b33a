// Facts about this process from /proc. For start-up and fork adoption: opens files, allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace asynctrace::agent {

// Reads up to `size` bytes of a file; 0 on any error.
size_t read_file(const char* path, char* buffer, size_t size);

size_t read_exe_path(char* buffer, size_t size);  // zero-terminated; returns the length
size_t read_cmdline(char* buffer, size_t size);   // arguments, each zero-terminated
uint64_t read_start_time();                       // field 22 of /proc/self/stat
void read_boot_id(char* buffer, size_t size);     // zero-terminated

}  // namespace asynctrace::agent
