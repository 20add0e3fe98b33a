#include "cli/census/census.hpp"

#include <algorithm>

#include "cli/census/hidden_leaves.hpp"
#include "cli/census/lock_holders.hpp"

namespace asynctrace {
namespace {

constexpr std::string_view kProcessGone = "holder unknown: the process is gone";
constexpr std::string_view kNoPermission = "holder unknown: the process's memory may not be read";

// The module of the tasks' code; where a program has several, that of its first task.
const Module* module_of(const Report& report, const Snapshot& snapshot) {
  for (const ReportTask& task : report.tasks) {
    const uint64_t address = task.task->poll_function;
    const auto found = std::ranges::find_if(snapshot.modules, [&](const Module& module) {
      return address >= module.start && address < module.end;
    });
    if (address != 0 && found != snapshot.modules.end()) return &*found;
  }
  return nullptr;
}

}  // namespace

bool take_census(const Report& report, Snapshot& snapshot, Symbolizer& symbols, pid_t pid) {
  const std::vector<LockLeaf> locks = lock_leaves(report);
  const auto hidden = tasks_with_hidden_leaves(report);
  if (locks.empty() && hidden.empty()) return false;
  const auto give_up = [&](std::string_view reason) {
    add_unknown_holders(locks, reason, snapshot);
    return !locks.empty();
  };
  if (pid == 0) return give_up(kProcessGone);
  const Module* module = module_of(report, snapshot);
  const auto types = module == nullptr ? nullptr : DwarfTypes::open(*module);
  if (!types) return give_up(kNeedsDebugInfo);
  const ProcessMemory memory(pid);
  if (!memory.number(module->start)) return give_up(kNoPermission);
  if (!locks.empty()) add_holders(locks, report, *types, memory, snapshot);
  const bool added = !hidden.empty() && add_hidden_leaves(hidden, report, *types, memory, snapshot, symbols);
  return added || !locks.empty();
}

}  // namespace asynctrace
