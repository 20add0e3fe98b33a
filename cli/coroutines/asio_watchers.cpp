#include "cli/coroutines/asio_watchers.hpp"

#include <algorithm>
#include <set>

#include "cli/census/memory_scan.hpp"
#include "cli/coroutines/asio_operations.hpp"
#include "common/own_loops.hpp"

namespace asynctrace {
namespace {

// Of what the reactor keeps for each descriptor.
constexpr std::string_view kStateFunction = "epoll_reactor16descriptor_state11do_complete";
constexpr uint64_t kFunctionOffset = 8, kDescriptorOffset = 104;

std::set<int> registered_descriptors(const ProcessImage& image, const Snapshot& snapshot,
                                     Symbolizer& symbols) {
  std::vector<uint64_t> functions;
  for (uint32_t i = 0; i < snapshot.modules.size(); ++i) {
    const ModuleFiles files = symbols.find_files(i);
    if (!files.file) continue;
    files.names().for_each_symbol([&](const ElfSymbol& symbol) {
      if (symbol.name.find(kStateFunction) != std::string_view::npos)
        functions.push_back(symbol.address + snapshot.modules[i].bias);
    });
  }
  std::ranges::sort(functions);
  std::set<int> descriptors;
  for (const Hit& hit : scan_for_words(*image.memory, image.writable, functions))
    if (const auto descriptor =
            image.memory->number(hit.address - kFunctionOffset + kDescriptorOffset, sizeof(int)))
      descriptors.insert(static_cast<int>(*descriptor));
  return descriptors;
}

}  // namespace

void drop_watchers_of_asio(const ProcessImage& image, Snapshot& snapshot, Symbolizer& symbols) {
  // By one function: a handler that calls epoll_ctl() itself has Asio further out.
  const auto armed_in = [&](const Task& task) -> const std::string& {
    static const std::string kNowhere;
    for (const Leaf& leaf : task.leaves)
      if (leaf.stack && !snapshot.stacks[*leaf.stack].pcs.empty())
        return symbols
            .frames()[symbols.resolve_return_address(snapshot.stacks[*leaf.stack].pcs.front()).front()]
            .function;
    return kNowhere;
  };
  std::optional<std::set<int>> descriptors;
  std::set<uint32_t> epolls;
  std::erase_if(snapshot.tasks, [&](const Task& task) {
    if (!task.watcher || task.watcher->is_loop || task.watcher->callback || task.leaves.empty()) return false;
    const std::string& function = armed_in(task);
    // A stripped library may have no name for it.
    if (function.empty() && !descriptors) descriptors = registered_descriptors(image, snapshot, symbols);
    const bool is_its =
        function.empty() ? descriptors->contains(task.watcher->descriptor) : is_asio(function);
    if (is_its) epolls.insert(watching(task.address));
    return is_its;
  });
  // Its bell and its timer are no descriptors of an operation's.
  std::erase_if(snapshot.tasks, [&](const Task& task) {
    return task.watcher && task.watcher->doubt == WatcherDoubt::kArmingUnseen &&
           epolls.contains(watching(task.address));
  });
}

}  // namespace asynctrace
