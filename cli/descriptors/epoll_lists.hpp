// What the epolls of a process watch, as the kernel lists it. Reads /proc; what is not understood there is
// left out.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace asynctrace {

struct EpollEntry {
  int descriptor;   // the number that it was added by; it may be another file's by now
  uint32_t events;  // of epoll(7)
  uint64_t data;
  uint64_t inode;
  bool operator==(const EpollEntry&) const = default;
};

// `info`: the text of /proc/PID/fdinfo/N of an epoll.
std::vector<EpollEntry> parse_epoll_list(std::string_view info);

// Of all epolls, by their own descriptors. Nothing: it may not be asked. `process`: "/proc/42".
using EpollLists = std::map<int, std::vector<EpollEntry>>;
std::optional<EpollLists> epoll_lists(const std::string& process);

}  // namespace asynctrace
