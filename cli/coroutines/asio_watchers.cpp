#include "cli/coroutines/asio_watchers.hpp"

#include <algorithm>

#include "cli/coroutines/asio_operations.hpp"

namespace asynctrace {

void drop_watchers_of_asio(Snapshot& snapshot, Symbolizer& symbols) {
  // A handler that calls epoll_ctl() itself has Asio further out.
  const auto is_called_by_asio = [&](const Leaf& leaf) {
    if (!leaf.stack || snapshot.stacks[*leaf.stack].pcs.empty()) return false;
    const uint32_t innermost =
        symbols.resolve_return_address(snapshot.stacks[*leaf.stack].pcs.front()).front();
    return is_asio(symbols.frames()[innermost].function);
  };
  std::erase_if(snapshot.tasks, [&](const Task& task) {
    const bool is_plain = task.watcher && !task.watcher->is_loop && !task.watcher->callback;
    return is_plain && std::ranges::any_of(task.leaves, is_called_by_asio);
  });
}

}  // namespace asynctrace
