// Which descriptors of a process an epoll watches edge-triggered: of those it tells once, not as long as they
// are ready. Reads /proc; what is not understood there is left out.
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>

namespace asynctrace {

// `info`: the text of /proc/PID/fdinfo/N of an epoll.
void add_edge_triggered(std::string_view info, std::unordered_set<int>& descriptors);

// Of all epolls. `process`: "/proc/42".
std::unordered_set<int> edge_triggered_descriptors(const std::string& process);

}  // namespace asynctrace
