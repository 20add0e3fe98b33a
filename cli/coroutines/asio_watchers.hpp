// Asio's own loop watches descriptors for operations that are known by themselves.
#pragma once

#include "cli/census/process_image.hpp"
#include "cli/snapshot.hpp"
#include "cli/symbols/symbolizer.hpp"

namespace asynctrace {

// Takes the watchers of epoll out of `snapshot` that Asio or Boost.Asio armed. `image` is of the same
// process, and `symbols` are those of its modules; where these do not tell, a watcher stays.
void drop_watchers_of_asio(const ProcessImage& image, Snapshot& snapshot, Symbolizer& symbols);

}  // namespace asynctrace
