#include "cli/commands/hang_watch.hpp"

#include <algorithm>

#include "cli/read_snapshot.hpp"
#include "cli/tree/findings.hpp"

namespace asynctrace {
namespace {

constexpr auto kShortestPause = std::chrono::milliseconds(100);

bool goes_on_with_others(const ReportTask& task) {
  bool any = false;
  for (const ReportLeaf& leaf : task.leaves) {
    if (!leaf.shown) continue;
    if (!leaf.source->waits_for_task) return false;
    any = true;
  }
  return any;
}

}  // namespace

bool HangWatch::may_hang(const Snapshot& snapshot, const Known& known) {
  const auto limit = static_cast<uint64_t>(limit_.count());
  bool any = false;
  for (const Task& task : snapshot.tasks) {
    if (task.state != TaskState::kWaiting || known.told.contains(task.id)) continue;
    if (task.in_state_ns >= limit) any |= !known.passed.contains({task.id, task.polls});
    else next_ = std::min(next_, Clock::now() + std::chrono::nanoseconds(limit - task.in_state_ns));
  }
  return any;
}

std::vector<const ReportTask*> HangWatch::hanging(const Report& report, const Known& known) const {
  std::vector<const ReportTask*> found;
  const auto add = [&](const Group& group, bool is_suspect) {
    for (const uint64_t id : group.tasks) {
      const ReportTask* task = find_task(report, id);
      if (task == nullptr || known.told.contains(id) || task->task->state != TaskState::kWaiting ||
          task->task->in_state_ns < static_cast<uint64_t>(limit_.count()))
        continue;
      if (is_suspect || !goes_on_with_others(*task)) found.push_back(task);
    }
  };
  for (const Suspect& suspect : report.suspects) add(suspect.group, true);
  for (const Group& group : report.groups) {
    if (group.group_class == GroupClass::kInside) add(group, false);
  }
  return found;
}

std::vector<HangWatch::Hang> HangWatch::look(const std::vector<TracedProcess>& live) {
  std::vector<Hang> hangs;
  next_ = Clock::now() + limit_;
  for (const TracedProcess& process : live) {
    const auto snapshot =
        read_snapshot(process.open_path, {ProcessState::kRunning, static_cast<uint32_t>(process.pid)});
    if (!snapshot) continue;
    Known& known = known_[{process.pid, process.summary.start_time}];
    if (!may_hang(*snapshot, known)) continue;
    auto report = read_report(process, options_, "hang");
    if (!report) continue;
    Hang hang;
    for (const ReportTask* task : hanging((*report)->report, known)) {
      hang.longest_ns = std::max(hang.longest_ns, task->task->in_state_ns);
      hang.tasks += known.told.insert(task->task->id).second;
    }
    for (const Task& task : snapshot->tasks) {
      if (task.in_state_ns >= static_cast<uint64_t>(limit_.count()))
        known.passed.insert({task.id, task.polls});
    }
    if (hang.tasks == 0) continue;
    hang.report = std::move(*report);
    hangs.push_back(std::move(hang));
  }
  next_ = std::max(next_, Clock::now() + kShortestPause);
  return hangs;
}

}  // namespace asynctrace
