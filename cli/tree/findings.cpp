#include "cli/tree/findings.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace asynctrace {
namespace {

constexpr size_t kThreadName = 15;  // what the kernel keeps of it
constexpr size_t kLeavesNamed = 3;

bool is_block_on(const ReportTask* task) {
  return task != nullptr && task->kind == ReportTaskKind::kBlockOn;
}

// From the first leaf on, which has most tasks behind it, outwards.
std::optional<uint32_t> place(const Group& group, const Report& report) {
  auto leaf = std::find_if(group.rows.begin(), group.rows.end(), [](const Row& row) { return row.is_leaf; });
  if (leaf == group.rows.end()) leaf = group.rows.begin();
  size_t depth = SIZE_MAX;
  for (auto row = std::make_reverse_iterator(leaf == group.rows.end() ? leaf : leaf + 1);
       row != group.rows.rend(); ++row) {
    if (row->depth >= depth) continue;
    depth = row->depth;
    if (row->is_user && row->frame && !report.frames[*row->frame].position.empty()) return row->frame;
  }
  return std::nullopt;
}

std::string waits_for(const Group& group) {
  std::string leaves;
  size_t more = 0;
  for (const Row& row : group.rows) {
    if (!row.is_leaf) continue;
    if (++more <= kLeavesNamed) leaves += (leaves.empty() ? "" : ", ") + row.text;
  }
  if (more > kLeavesNamed) leaves += fmt::format(" and {} more", more - kLeavesNamed);
  return fmt::format("waiting{} {}", group.stacks.empty() ? "," : " for", leaves);
}

// The one thread that all tasks of the group were polled by last, 0: there is none.
uint64_t common_thread(const Group& group, const Report& report) {
  uint64_t tid = 0;
  for (const uint64_t id : group.tasks) {
    const ReportTask* task = find_task(report, id);
    if (task == nullptr) return 0;
    const uint64_t its = is_block_on(task) ? task->task->address : task->task->last_poll_tid.value_or(0);
    if (its == 0 || (tid != 0 && its != tid)) return 0;
    tid = its;
  }
  return tid;
}

}  // namespace

const ReportTask* find_task(const Report& report, uint64_t id) {
  const auto task =
      std::lower_bound(report.tasks.begin(), report.tasks.end(), id,
                       [](const ReportTask& known, uint64_t wanted) { return known.task->id < wanted; });
  return task != report.tasks.end() && task->task->id == id ? &*task : nullptr;
}

std::string_view thread_name(const Group& group, const Report& report) {
  const uint64_t tid = common_thread(group, report);
  // Another thread's tasks may be polled anywhere.
  const bool is_block_ons =
      std::any_of(report.tasks.begin(), report.tasks.end(),
                  [&](const ReportTask& task) { return is_block_on(&task) && task.task->address == tid; });
  if (tid == 0 || !is_block_ons) return {};
  const std::string_view exe = report.snapshot->process.exe;
  for (const Thread& thread : report.snapshot->threads) {
    if (thread.tid != tid) continue;
    const bool is_programs = exe.substr(exe.rfind('/') + 1).substr(0, kThreadName) == thread.name;
    return is_programs ? std::string_view() : std::string_view(thread.name);
  }
  return {};
}

std::vector<Finding> find_findings(const Report& report) {
  std::vector<Finding> found;
  if (report.crash)
    found.push_back({true, "crash", "crashed", &report.crash->group, place(report.crash->group, report)});
  for (const Suspect& suspect : report.suspects)
    found.push_back({true, suspect.kind, suspect.evidence, &suspect.group, place(suspect.group, report)});
  const auto add = [&](const Group& group) {
    found.push_back({false, "waiting", waits_for(group), &group, place(group, report)});
  };
  const auto add_outside = [&](bool all) {
    for (const Group& group : report.groups) {
      if (group.group_class != GroupClass::kOutside) continue;
      if (all || is_block_on(find_task(report, group.tasks.front()))) add(group);
    }
  };
  for (const Group& group : report.groups) {
    if (group.group_class == GroupClass::kInside) add(group);
  }
  add_outside(false);
  if (found.empty()) add_outside(true);
  return found;
}

}  // namespace asynctrace
