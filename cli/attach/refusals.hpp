// Can the agent enter this running process? Each refusal has its reason and its remedy. Reads /proc and files
// only; the target is not touched.
#pragma once

#include <cstdint>
#include <string>

#include <sys/types.h>

#include "cli/error.hpp"
#include "cli/process/file_descriptor.hpp"

namespace asynctrace {

// The process that was asked for, and no later one of its number.
class PinnedProcess {
 public:
  static Result<PinnedProcess> pin(pid_t pid);
  pid_t pid() const { return pid_; }
  const std::string& name() const { return name_; }  // as the kernel knows it; not escaped
  bool still_there() const;

 private:
  PinnedProcess(pid_t pid, FileDescriptor fd, uint64_t start_time, std::string name)
      : pid_(pid), fd_(std::move(fd)), start_time_(start_time), name_(std::move(name)) {}
  pid_t pid_;
  FileDescriptor fd_;  // of pidfd_open, -1: before Linux 5.3
  uint64_t start_time_;
  std::string name_;
};

// Refuses what no thread of could load the agent, or must not: what is no live process of a program that was
// linked dynamically against glibc for this processor, what may not be traced, what is being traced, stopped
// or under a seccomp filter (but for `force`) or a shadow stack.
Result<void> check_process(const PinnedProcess& process, bool force);

// The path by which the target can open `library`: itself, where the target sees the same file there.
Result<std::string> path_in_target(const PinnedProcess& process, const std::string& library);

}  // namespace asynctrace
