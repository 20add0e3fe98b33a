// EndWatch: how those processes of the tree end that others reap: a shell, make, cargo. It holds a pidfd for
// each process below this one from the moment that any of them creates a segment; the kernel then tells of
// the end at once, and how it came about: as long as the dead process waits for its parent in any kernel,
// afterwards from Linux 6.15 on. What it cannot learn stays unknown. Does nothing where inotify or pidfds
// are refused. Not thread-safe.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include <sys/types.h>

#include "cli/process/ended_processes.hpp"
#include "cli/process/file_descriptor.hpp"

namespace asynctrace {

class EndWatch {
 public:
  // `is_segment`: whether a file name in `directory` is that of a segment of this run.
  EndWatch(const std::string& directory, std::function<bool(std::string_view)> is_segment);

  // Readable when there is something to take; negative where nothing can be watched.
  int descriptor() const { return epoll_.get(); }
  // Adds what has ended since the last call. Processes that this one has to reap are left to it.
  void take(EndedProcesses& ended);
  // To be told of each process that this one has reaped. Returns where it was when it was first seen; ""
  // where it was not.
  std::string forget(pid_t pid);

 private:
  struct Watched {
    FileDescriptor pidfd;
    std::string directory;
  };
  bool segment_appeared();
  void watch_tree();
  void note_end(pid_t pid, EndedProcesses& ended);

  std::function<bool(std::string_view)> is_segment_;
  FileDescriptor inotify_, epoll_;
  std::map<pid_t, Watched> watched_;
};

}  // namespace asynctrace
