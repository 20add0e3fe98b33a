#include "cli/tree/resources.hpp"

#include <string.h>

#include <fmt/format.h>

#include "common/include/asynctrace/abi.h"

namespace asynctrace {
namespace {

bool waits_for_signal(const Task& task, const Snapshot& snapshot) {
  if (task.leaves.empty() || !task.leaves.front().label) return false;
  const uint32_t label = *task.leaves.front().label;
  // Others of its class wait for a child process, by a descriptor or none.
  return label < snapshot.labels.size() && snapshot.labels[label].leaf_class == ASYNCTRACE_SIGNAL &&
         snapshot.labels[label].text == "signal";
}

}  // namespace

std::optional<int> descriptor_of(const Task& task, const Snapshot& snapshot) {
  const bool has_one = task.watcher && task.watcher->descriptor >= 0 && !waits_for_signal(task, snapshot);
  return has_one ? std::optional(task.watcher->descriptor) : std::nullopt;
}

std::string resource_of(const Task& task, const Snapshot& snapshot) {
  if (const auto descriptor = descriptor_of(task, snapshot)) {
    const auto known = snapshot.descriptors.find(*descriptor);
    return known != snapshot.descriptors.end() ? known->second : "";
  }
  if (!task.watcher || task.watcher->descriptor < 0 || !waits_for_signal(task, snapshot)) return "";
  const char* name = ::sigabbrev_np(task.watcher->descriptor);
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", task.watcher->descriptor);
}

std::string resource_phrase(const Task& task, const Snapshot& snapshot) {
  std::string resource = resource_of(task, snapshot);
  const auto descriptor = descriptor_of(task, snapshot);
  if (!descriptor) return resource;
  return resource.empty() ? fmt::format("fd {}", *descriptor)
                          : fmt::format("fd {}: {}", *descriptor, resource);
}

}  // namespace asynctrace
