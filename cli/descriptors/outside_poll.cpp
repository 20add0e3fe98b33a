#include "cli/descriptors/outside_poll.hpp"

#include <poll.h>
#include <sys/syscall.h>

namespace asynctrace {

OutsidePoll::OutsidePoll(pid_t pid) : process_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}

std::optional<uint16_t> OutsidePoll::events_of(int descriptor, uint16_t events) const {
  if (!process_) return std::nullopt;
  // Its O_NONBLOCK is the process's own: nothing is read, and no flag changed.
  const FileDescriptor copy(static_cast<int>(::syscall(SYS_pidfd_getfd, process_.get(), descriptor, 0)));
  if (!copy) return std::nullopt;
  pollfd waited{copy.get(), static_cast<short>(events), 0};
  if (::poll(&waited, 1, 0) < 0 || (waited.revents & POLLNVAL) != 0) return std::nullopt;
  return static_cast<uint16_t>(waited.revents);
}

}  // namespace asynctrace
