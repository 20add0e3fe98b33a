#include "cli/tree/crash.hpp"

#include <algorithm>

#include "cli/tree/rows.hpp"

namespace asynctrace {

void add_crash(Report& report, StackTable& stacks, const ReportOptions& options) {
  if (!report.snapshot->crash) return;
  const Crash& crash = *report.snapshot->crash;
  ReportCrash& result = report.crash.emplace();
  const auto task = std::find_if(report.tasks.begin(), report.tasks.end(),
                                 [&](const ReportTask& known) { return crash.task == known.task->id; });
  result.group.group_class = GroupClass::kRunning;
  if (crash.task) result.group.tasks = {*crash.task};
  if (!crash.stack) return;
  result.stack = stacks.add_native(*crash.stack, crash.task.has_value());
  result.group.stacks = {*result.stack};
  result.group.rows = RowBuilder(report, options.frames).draw_native(*result.stack);
  if (task != report.tasks.end()) task->running_stack = result.stack;
}

}  // namespace asynctrace
