// Asio's own loop watches descriptors for operations that are known by themselves.
#pragma once

#include "cli/snapshot.hpp"
#include "cli/symbols/symbolizer.hpp"

namespace asynctrace {

// Takes the watchers of epoll out of `snapshot` that Asio or Boost.Asio armed. `symbols` are those of the
// snapshot's modules; where they do not tell, a watcher stays.
void drop_watchers_of_asio(Snapshot& snapshot, Symbolizer& symbols);

}  // namespace asynctrace
