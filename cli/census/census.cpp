#include "cli/census/census.hpp"

#include <algorithm>

#include "cli/census/hidden_leaves.hpp"
#include "cli/census/lock_holders.hpp"

namespace asynctrace {
namespace {

constexpr char kProcessGone[] = "holder unknown: the process is gone";
constexpr char kNoPermission[] = "holder unknown: the process's memory may not be read";

// The module of the tasks' code; where a program has several, that of its first task.
std::optional<uint32_t> module_of(const Report& report, const Snapshot& snapshot) {
  for (const ReportTask& task : report.tasks)
    if (const auto module = module_at(task.task->poll_function, snapshot)) return module;
  return std::nullopt;
}

}  // namespace

bool take_census(const Report& report, Snapshot& snapshot, Symbolizer& symbols, const Memory* memory,
                 CensusScope scope) {
  const std::vector<LockLeaf> locks = lock_leaves(report);
  const auto hidden = tasks_with_hidden_leaves(report);
  if (locks.empty() && hidden.empty()) return false;
  const auto give_up = [&](const char* reason) {
    add_unknown_holders(locks, reason, snapshot);
    return !locks.empty();
  };
  if (memory == nullptr) return give_up(kProcessGone);
  const auto module = module_of(report, snapshot);
  std::unique_ptr<DwarfTypes> types;
  const BlockOns* block_ons = nullptr;
  if (module && scope.types.contains(*module)) {
    types = std::move(scope.types[*module]);
    block_ons = &scope.block_ons[*module];
  } else if (snapshot.attached_ns) {
    return give_up(kNoPermission);
  } else if (module) {
    types = DwarfTypes::open(snapshot.modules[*module], symbols.find_files(*module));
  }
  if (!types) return give_up(kNeedsDebugInfo);
  if (!memory->number(snapshot.modules[*module].start)) return give_up(kNoPermission);
  if (!locks.empty()) add_holders(locks, report, *types, *memory, block_ons, snapshot);
  const bool added = !hidden.empty() && add_hidden_leaves(hidden, report, *types, *memory, snapshot, symbols);
  return added || !locks.empty();
}

}  // namespace asynctrace
