#include "cli/tree/movement.hpp"

#include <algorithm>

#include "cli/tree/findings.hpp"

namespace asynctrace {
namespace {

void count_unmoved(Group& group, const Report& report) {
  group.unmoved = static_cast<size_t>(std::count_if(group.tasks.begin(), group.tasks.end(), [&](uint64_t id) {
    const ReportTask* task = find_task(report, id);
    return task != nullptr && task->unmoved;
  }));
}

}  // namespace

EarlierDump remember(const Snapshot& snapshot) {
  EarlierDump dump{snapshot.process.pid,
                   snapshot.process.exe,
                   snapshot.process.start_realtime_ns,
                   snapshot.captured_realtime_ns,
                   {}};
  dump.tasks.reserve(snapshot.tasks.size());
  for (const Task& task : snapshot.tasks)
    dump.tasks.emplace(task.id, EarlierDump::Seen{task.address, task.polls});
  return dump;
}

void mark_unmoved(Report& report, const EarlierDump& earlier) {
  const Snapshot& now = *report.snapshot;
  if (now.process.pid != earlier.pid || now.process.exe != earlier.exe ||
      now.process.start_realtime_ns != earlier.start_realtime_ns)
    return;
  report.since_earlier_ns =
      static_cast<uint64_t>(std::max<int64_t>(0, now.captured_realtime_ns - earlier.captured_realtime_ns));
  for (ReportTask& task : report.tasks) {
    const auto seen = earlier.tasks.find(task.task->id);
    task.unmoved = seen != earlier.tasks.end() && task.task->kind != TaskKind::kWaker &&
                   seen->second.address == task.task->address && seen->second.polls == task.task->polls;
  }
  for (Group& group : report.groups) count_unmoved(group, report);
  for (Suspect& suspect : report.suspects) count_unmoved(suspect.group, report);
}

}  // namespace asynctrace
