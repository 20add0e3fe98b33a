#include "cli/tree/resources.hpp"

#include <string.h>

#include <fmt/format.h>

#include "cli/render/duration.hpp"
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

std::optional<int64_t> due_of(const Task& task, const Snapshot& snapshot) {
  if (task.watcher && task.watcher->due_in_ns) return task.watcher->due_in_ns;
  const auto known = snapshot.due_in_ns.find(task.id);
  return known != snapshot.due_in_ns.end() ? std::optional(known->second) : std::nullopt;
}

namespace {

// But for the time.
std::string plain_resource_of(const Task& task, const Snapshot& snapshot) {
  if (const auto descriptor = descriptor_of(task, snapshot)) {
    const auto known = snapshot.descriptors.find(*descriptor);
    return known != snapshot.descriptors.end() ? known->second : "";
  }
  if (!task.watcher || task.watcher->descriptor < 0 || !waits_for_signal(task, snapshot)) return "";
  const char* name = ::sigabbrev_np(task.watcher->descriptor);
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", task.watcher->descriptor);
}

// "due in 3.2s"; "" where no time is known.
std::string due_phrase(const Task& task, const Snapshot& snapshot) {
  const auto due = due_of(task, snapshot);
  if (!due) return "";
  return *due >= 0 ? fmt::format("due in {}", format_duration(static_cast<uint64_t>(*due)))
                   : fmt::format("overdue by {}", format_duration(static_cast<uint64_t>(-*due)));
}

std::string joined(std::string first, const std::string& second) {
  if (!first.empty() && !second.empty()) first += ", ";
  return first + second;
}

}  // namespace

std::string resource_of(const Task& task, const Snapshot& snapshot) {
  const std::string due = due_phrase(task, snapshot);
  const bool is_only_time = !due.empty() && (!task.watcher || task.watcher->descriptor < 0);
  return joined(is_only_time ? "timer" : plain_resource_of(task, snapshot), due);
}

std::string resource_phrase(const Task& task, const Snapshot& snapshot) {
  const std::string resource = plain_resource_of(task, snapshot);
  const auto descriptor = descriptor_of(task, snapshot);
  const std::string named = !descriptor ? "" : fmt::format("fd {}", *descriptor);
  const char* const between = named.empty() || resource.empty() ? "" : ": ";
  return joined(named + between + resource, due_phrase(task, snapshot));
}

}  // namespace asynctrace
