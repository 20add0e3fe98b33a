// Where segment files live and how they are named. Used by the agent at start-up and by the CLI; allocates
// nothing, makes system calls, keeps no state.
#pragma once

#include <cstddef>
#include <cstdint>

namespace asynctrace {

struct SegmentName {
  const char* exe;  // base name of the program
  uint32_t pid;
  const char* run_id;  // null: not started by `asynctrace run`
  uint64_t nonce;
};

// The first of `wanted` (when given, the only candidate), $XDG_RUNTIME_DIR/asynctrace,
// /dev/shm/asynctrace-$UID, /tmp/asynctrace-$UID that is a directory of ours with mode 0700 (made where
// missing, never a symlink) and has room. False: none; errno of the last candidate.
bool choose_segment_dir(const char* wanted, char* path, size_t size);

// The n-th candidate directory (n from 0), whether it exists or not; false past the last. For listing.
bool segment_dir_candidate(unsigned n, const char* wanted, char* path, size_t size);

// Creates DIR/<exe>.<pid>.[<run id>-]<nonce>.atrace, 0600, and returns its descriptor, or -1 and errno.
int open_in_dir(const char* directory, const SegmentName& name, char* path, size_t size);

// The same for a pattern in which %e stands for the program and %p for the pid. An existing file is never
// touched: where the name is taken, `.<pid>` and then the nonce are appended.
int open_output(const char* pattern, const SegmentName& name, char* path, size_t size);

}  // namespace asynctrace
