// poll(2) on the descriptors of another process: on copies that are closed at once. Changes nothing in the
// process: neither its descriptors nor what their files hold.
#pragma once

#include <cstdint>
#include <optional>

#include <sys/types.h>

#include "cli/process/file_descriptor.hpp"

namespace asynctrace {

class OutsidePoll {
 public:
  explicit OutsidePoll(pid_t pid);

  // Those of `events` that the descriptor has, and its errors. Nothing: it is not permitted (which takes what
  // a debugger needs), the kernel is older than 5.6, or the descriptor is not open. Only for descriptors that
  // may be polled, see DescriptorFacts.
  std::optional<uint16_t> events_of(int descriptor, uint16_t events) const;

 private:
  FileDescriptor process_;
};

}  // namespace asynctrace
