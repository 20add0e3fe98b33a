#include "cli/commands/descriptor_facts.hpp"

#include <fmt/format.h>

#include "cli/process/proc.hpp"
#include "cli/tree/resources.hpp"

namespace asynctrace {

std::map<int, DescriptorFacts> add_descriptors(const TracedProcess& process, Snapshot& snapshot) {
  std::map<int, DescriptorFacts> found;
  Descriptors descriptors(fmt::format("/proc/{}", process.pid));
  for (const Task& task : snapshot.tasks) {
    const auto number = descriptor_of(task, snapshot);
    if (!number || task.leaves.empty() || found.contains(*number)) continue;
    if (process.life != Life::kRunning) {
      snapshot.no_descriptors = "the process is gone";
      return {};
    }
    auto facts = descriptors.describe(*number);
    if (!facts) {
      snapshot.no_descriptors = facts.error().message;
      break;
    }
    found.emplace(*number, std::move(*facts));
  }
  // Its id may have gone to another process meanwhile.
  const auto stat = read_stat(process.pid);
  if (!found.empty() && (!stat || stat->start_time != process.summary.start_time)) {
    snapshot.no_descriptors = "the process is gone";
    return {};
  }
  for (const auto& [number, facts] : found) snapshot.descriptors.emplace(number, facts.text);
  return found;
}

}  // namespace asynctrace
