#include "cli/tree/report.hpp"

#include <algorithm>
#include <functional>
#include <unordered_map>

#include "cli/tree/causes.hpp"
#include "cli/tree/crash.hpp"
#include "cli/tree/diagnostics.hpp"
#include "cli/tree/findings.hpp"
#include "cli/tree/groups.hpp"
#include "cli/tree/leaves.hpp"
#include "cli/tree/movement.hpp"
#include "cli/tree/names.hpp"
#include "cli/tree/stack_table.hpp"
#include "cli/tree/task_types.hpp"
#include "cli/tree/threads.hpp"

namespace asynctrace {
namespace {

struct Poller {
  ReportTaskKind kind = ReportTaskKind::kTask;
  std::optional<uint32_t> type;
  std::string version;  // of the runtime's crate
};

class PollerTable {
 public:
  PollerTable(FrameSource& symbols, Report& report) : symbols_(symbols), report_(report) {}

  // Each poll function is looked at once.
  const Poller& find(uint64_t address, RuntimeId runtime) {
    const auto [entry, is_new] = pollers_.try_emplace(address);
    if (!is_new || address == 0) return entry->second;
    const Frame& frame = symbols_.frames()[symbols_.resolve_function(address)];
    const TaskType type = task_type(frame);
    entry->second.kind = type.kind;
    entry->second.version = crate_version(frame.file, name(runtime));
    if (!type.future.empty()) {
      entry->second.type = static_cast<uint32_t>(report_.types.size());
      report_.types.push_back(type.future);
    }
    return entry->second;
  }

 private:
  FrameSource& symbols_;
  Report& report_;
  std::unordered_map<uint64_t, Poller> pollers_;
};

// The functions that watchers call, each looked at once.
class CallbackTable {
 public:
  CallbackTable(const Snapshot& snapshot, FrameSource& symbols, Report& report)
      : snapshot_(snapshot), symbols_(symbols), report_(report) {}

  // `callback`: index into Snapshot::stacks. Index into Report::types.
  uint32_t find(uint32_t callback) {
    const uint64_t pc = snapshot_.stacks[callback].pcs.front();
    const auto [entry, is_new] = types_.try_emplace(pc, static_cast<uint32_t>(report_.types.size()));
    if (!is_new) return entry->second;
    const Frame& frame = symbols_.frames()[symbols_.resolve_function(pc - 1)];
    const bool in_module = frame.module && *frame.module < snapshot_.modules.size();
    const std::string_view module = in_module ? std::string_view(snapshot_.modules[*frame.module].path) : "";
    report_.types.push_back(display_name(frame, module));
    return entry->second;
  }

 private:
  const Snapshot& snapshot_;
  FrameSource& symbols_;
  Report& report_;
  std::unordered_map<uint64_t, uint32_t> types_;
};

ReportTaskKind task_kind(const Task& task, const Poller& poller) {
  if (task.watcher) return task.watcher->is_loop ? ReportTaskKind::kWorker : ReportTaskKind::kTask;
  if (task.kind == TaskKind::kBlockOn) return ReportTaskKind::kBlockOn;
  if (task.is_blocking && poller.kind == ReportTaskKind::kTask) return ReportTaskKind::kBlocking;
  if (poller.kind == ReportTaskKind::kTask && !poller.type && task.nests_polls)
    return ReportTaskKind::kWorker;
  return poller.kind;
}

void count_worker(const Task& task, const Snapshot& snapshot, WorkerCounts& workers) {
  ++workers.total;
  for (const Thread& thread : snapshot.threads) {
    if (thread.outer_task != task.id && thread.task != task.id) continue;
    const bool polls_another = thread.task && *thread.task != task.id;
    if (thread.state == ThreadState::kParked) {
      ++workers.parked;
    } else if (polls_another) {
      workers.polling_ns.push_back(thread.in_state_ns);
    }
    return;
  }
}

// A thread that block_on's nothing but its executor.
bool is_executor_thread(const ReportTask& task, const Report& report) {
  if (task.kind != ReportTaskKind::kBlockOn) return false;
  bool runs_executor = false;
  for (const ReportLeaf& leaf : task.leaves) {
    if (!leaf.stack || report.stacks[*leaf.stack].has_user_frame) return false;
    runs_executor |= report.stacks[*leaf.stack].kind.internal;
  }
  return runs_executor;
}

void add_runtimes(Report& report, PollerTable& pollers) {
  for (const ReportTask& task : report.tasks) {
    if (task.task->runtime == RuntimeId::kUnknown) continue;
    auto runtime =
        std::find_if(report.runtimes.begin(), report.runtimes.end(), [&](const ReportRuntime& known) {
          return known.id == task.task->runtime && known.name == runtime_name(*task.task);
        });
    if (runtime == report.runtimes.end()) {
      report.runtimes.push_back({task.task->runtime, std::string(runtime_name(*task.task)), "", 0, {}});
      runtime = report.runtimes.end() - 1;
    }
    if (runtime->version.empty())
      runtime->version = pollers.find(task.task->poll_function, task.task->runtime).version;
    if (task.kind == ReportTaskKind::kWorker) {
      count_worker(*task.task, *report.snapshot, runtime->workers);
    } else {
      ++runtime->tasks;
    }
  }
  for (ReportRuntime& runtime : report.runtimes) {
    std::sort(runtime.workers.polling_ns.begin(), runtime.workers.polling_ns.end(), std::greater<>());
  }
}

std::vector<const Task*> by_id(const Snapshot& snapshot) {
  std::vector<const Task*> tasks;
  tasks.reserve(snapshot.tasks.size());
  for (const Task& task : snapshot.tasks) tasks.push_back(&task);
  std::ranges::sort(tasks, {}, &Task::id);
  return tasks;
}

}  // namespace

std::string_view name(RuntimeId id) {
  switch (id) {
    case RuntimeId::kTokio: return "tokio";
    case RuntimeId::kAsyncTask: return "async-task";
    case RuntimeId::kOther: return "other";
    case RuntimeId::kCoroutine: return "C++20 coroutines";
    case RuntimeId::kAsio: return "asio";
    case RuntimeId::kNative:
    case RuntimeId::kLoop:
    case RuntimeId::kUnknown: break;
  }
  return "unknown";
}

std::string_view runtime_name(const Task& task) {
  if (task.watcher && !task.watcher->library.empty()) return task.watcher->library;
  return task.native && !task.native->runtime.empty() ? task.native->runtime : name(task.runtime);
}

Report build_report(const Snapshot& snapshot, FrameSource& symbols, const ReportOptions& options) {
  Report report;
  report.snapshot = &snapshot;
  report.symbols = &symbols;
  report.source_root = options.sources.root;

  StackTable stacks(snapshot, symbols, options, report);
  PollerTable pollers(symbols, report);
  CallbackTable callbacks(snapshot, symbols, report);
  CauseTable causes(stacks, report,
                    [&](uint32_t callback) { return report.types[callbacks.find(callback)]; });
  report.tasks.reserve(snapshot.tasks.size());
  size_t leaf_count = 0;
  for (const Task& task : snapshot.tasks) leaf_count += task.leaves.size();
  report.leaves.reserve(leaf_count);
  for (const Task* task : by_id(snapshot)) {
    const Poller& poller = pollers.find(task->poll_function, task->runtime);
    const std::vector<ReportLeaf> leaves = judge_leaves(*task, stacks, report);
    const auto first = report.leaves.insert(report.leaves.end(), leaves.begin(), leaves.end());
    ReportTask& added = report.tasks.emplace_back();
    added.task = task;
    added.kind = task_kind(*task, poller);
    added.type = poller.type;
    added.leaves = {first, leaves.size()};
    if (task->watcher && task->watcher->callback) added.type = callbacks.find(*task->watcher->callback);
    if (options.causes) added.causes = causes.add(*task);
    if (task->native) added.spawn_stack = stacks.add(task->native->spawn_stack);
    if (is_executor_thread(added, report)) added.kind = ReportTaskKind::kWorker;
  }
  causes.finish();
  add_crash(report, stacks, options);
  for (const Thread& thread : snapshot.threads) {
    const ReportTask* task = thread.task && thread.native_stack ? find_task(report, *thread.task) : nullptr;
    if (task == nullptr || task->running_stack) continue;  // a crash has told
    report.tasks[static_cast<size_t>(task - report.tasks.data())].running_stack =
        stacks.add_native(thread.poll_stack.value_or(*thread.native_stack), true);
  }
  add_threads(report, stacks, options);
  build_groups(report, options, blocked_threads(snapshot, symbols, options.blocked_ns));
  add_runtimes(report, pollers);
  add_diagnostics(report);
  if (options.earlier != nullptr) mark_unmoved(report, *options.earlier);
  return report;
}

}  // namespace asynctrace
