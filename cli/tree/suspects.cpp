#include "cli/tree/suspects.hpp"

#include <algorithm>
#include <tuple>

#include <fmt/format.h>

#include "cli/render/duration.hpp"
#include "cli/tree/findings.hpp"
#include "cli/tree/resources.hpp"
#include "cli/tree/stack_table.hpp"
#include "cli/tree/task_types.hpp"
#include "cli/tree/wait_graph.hpp"

namespace asynctrace {
namespace {

// A closure that may block is polled once; where symbols do not tell what a task is, only its polls can.
bool polls_a_future(const Task& task, FrameSource& symbols) {
  if (task.watcher) return task.watcher->callback.has_value();
  if (task.kind != TaskKind::kTask || task.poll_function == 0) return false;
  const TaskType type = task_type(symbols.frames()[symbols.resolve_function(task.poll_function)]);
  if (type.kind != ReportTaskKind::kTask) return false;
  return !type.future.empty() || (task.polls > 1 && !task.nests_polls);
}

// tokio's block_in_place hands the worker's other tasks to another thread first.
bool may_block(const Thread& thread, const Snapshot& snapshot, FrameSource& symbols) {
  if (!thread.native_stack) return false;
  const std::vector<uint64_t> pcs = inside_poll(snapshot.stacks[*thread.native_stack].pcs, snapshot);
  return std::any_of(pcs.begin(), pcs.end(), [&](uint64_t pc) {
    const std::span<const uint32_t> frames = symbols.resolve_return_address(pc);
    return std::any_of(frames.begin(), frames.end(), [&](uint32_t frame) {
      const std::string& function = symbols.frames()[frame].function;
      return function.starts_with("tokio::") && function.find("::block_in_place") != std::string::npos;
    });
  });
}

bool is_evidence(const ReportLeaf& leaf) {
  return leaf.confirmed && leaf.source->waits_for_task && leaf.reason != LeafReason::kNoExactEnd &&
         leaf.reason != LeafReason::kWakerAlone;
}

bool waits_for_tasks_alone(const ReportTask& task) {
  if (task.task->state != TaskState::kWaiting || task.task->torn) return false;
  bool any = false;
  for (const ReportLeaf& leaf : task.leaves) {
    if (!leaf.shown) continue;
    if (!is_evidence(leaf)) return false;
    any = true;
  }
  return any;
}

// "fd 7 (pipe, read end)"
std::string descriptor_phrase(const Task& task, const Snapshot& snapshot) {
  const std::string resource = resource_of(task, snapshot);
  return fmt::format("fd {}{}", task.watcher->descriptor,
                     resource.empty() ? "" : fmt::format(" ({})", resource));
}

std::string_view describe(const ReportLeaf& leaf, const Report& report) {
  return leaf.stack ? std::string_view(report.stacks[*leaf.stack].kind.text) : "unknown";
}

uint64_t longest_wait(const ReportTask& task) {
  uint64_t longest = 0;
  for (const ReportLeaf& leaf : task.leaves) {
    if (leaf.shown) longest = std::max(longest, leaf.source->waiting_ns);
  }
  return longest;
}

}  // namespace

std::string_view name(SuspectKind kind) {
  constexpr std::string_view kNames[] = {"no_waker", "deadlock", "blocked_worker", "ready_not_served",
                                         "waits_on_suspect"};
  return kNames[static_cast<size_t>(kind)];
}

std::vector<BlockedThread> blocked_threads(const Snapshot& snapshot, FrameSource& symbols, uint64_t min_ns) {
  std::vector<BlockedThread> found;
  for (const Task& task : snapshot.tasks) {
    if (task.state != TaskState::kRunning || task.in_state_ns < min_ns) continue;
    const auto thread = std::find_if(snapshot.threads.begin(), snapshot.threads.end(),
                                     [&](const Thread& one) { return one.task == task.id; });
    if (thread == snapshot.threads.end() || !polls_a_future(task, symbols)) continue;
    if (may_block(*thread, snapshot, symbols)) continue;
    found.push_back({static_cast<size_t>(thread - snapshot.threads.begin()), &task});
  }
  std::sort(found.begin(), found.end(), [](const BlockedThread& a, const BlockedThread& b) {
    return std::tuple(b.task->in_state_ns, a.task->id) < std::tuple(a.task->in_state_ns, b.task->id);
  });
  return found;
}

SuspectFinder::SuspectFinder(const Report& report, std::vector<BlockedThread> blocked)
    : report_(report), blocked_(std::move(blocked)) {
  std::unordered_map<uint64_t, size_t> number_of;
  std::vector<uint64_t> ids;
  const auto take = [&](uint64_t id) {
    if (number_of.try_emplace(id, ids.size()).second) ids.push_back(id);
  };
  for (const BlockedThread& one : blocked_) take(one.task->id);
  for (const ReportTask& task : report_.tasks) {
    const bool no_waker = task.task->stuck && task.task->state == TaskState::kWaiting;
    if (no_waker) kinds_.emplace(task.task->id, SuspectKind::kNoWaker);
    if (no_waker || waits_for_tasks_alone(task)) take(task.task->id);
  }
  for (const Unserved& one : report_.snapshot->unserved)
    kinds_.emplace(one.task, SuspectKind::kReadyNotServed);
  WaitGraph graph(ids.size());
  for (const BlockedThread& one : blocked_) graph.add_dead_end(number_of.at(one.task->id));
  for (size_t number = 0; number < ids.size(); ++number) {
    if (kinds_.contains(ids[number])) graph.add_dead_end(number);
    const ReportTask* task = find_task(report_, ids[number]);
    if (task == nullptr || !waits_for_tasks_alone(*task)) continue;
    for (const ReportLeaf& leaf : task->leaves) {
      if (!leaf.shown) continue;
      // One of whom nothing bad is known may end any time.
      const auto target = number_of.find(*leaf.source->waits_for_task);
      graph.add_place(number,
                      target == number_of.end() ? std::vector<size_t>{} : std::vector{target->second});
    }
  }
  WaitGraph::Verdict verdict = graph.judge();
  for (const std::vector<size_t>& circle : verdict.circles) {
    std::vector<uint64_t>& tasks = circles_.emplace_back();
    for (const size_t number : circle) tasks.push_back(ids[number]);
    std::sort(tasks.begin(), tasks.end());
    for (const uint64_t id : tasks) kinds_.emplace(id, SuspectKind::kDeadlock);
  }
  for (const size_t number : verdict.never_go_on) kinds_.emplace(ids[number], SuspectKind::kWaitsOnSuspect);
}

std::optional<SuspectKind> SuspectFinder::kind_of(uint64_t task) const {
  const auto found = kinds_.find(task);
  return found == kinds_.end() ? std::nullopt : std::optional(found->second);
}

std::string SuspectFinder::why_waiting(const ReportTask& task) const {
  std::vector<std::string> reasons;
  for (const ReportLeaf& leaf : task.leaves) {
    if (leaf.shown)
      reasons.push_back(fmt::format("task {} ({})", *leaf.source->waits_for_task, describe(leaf, report_)));
  }
  return fmt::format("{}", fmt::join(reasons, " and "));
}

Suspect SuspectFinder::deadlock(const std::vector<uint64_t>& tasks, RowBuilder& rows) const {
  Suspect suspect;
  suspect.kind = name(SuspectKind::kDeadlock);
  suspect.group.tasks = tasks;
  std::vector<std::string> evidence;
  std::vector<uint64_t> waits;
  bool is_timed = true;
  for (const uint64_t id : tasks) {
    const ReportTask& task = *find_task(report_, id);
    evidence.push_back(fmt::format("task {} waits for {}", id, why_waiting(task)));
    waits.push_back(longest_wait(task));
    is_timed &= !task.task->from_census;
    Row heading;
    heading.text = fmt::format("task {}", id);
    suspect.group.rows.push_back(std::move(heading));
    std::vector<LeafKey> keys;
    for (const ReportLeaf& leaf : task.leaves) {
      if (!leaf.shown) continue;
      keys.push_back(leaf_key(task, leaf, report_));
      if (leaf.stack) suspect.group.stacks.push_back(*leaf.stack);
    }
    std::sort(keys.begin(), keys.end());
    for (Row& row : rows.draw(keys).rows) suspect.group.rows.push_back(std::move(row));
  }
  std::sort(suspect.group.stacks.begin(), suspect.group.stacks.end());
  std::sort(waits.begin(), waits.end());
  suspect.group.waiting = {waits.front(), waits[(waits.size() - 1) / 2], waits.back(), is_timed};
  suspect.evidence = fmt::format("{}", fmt::join(evidence, "; "));
  return suspect;
}

Suspect SuspectFinder::blocked_worker(const BlockedThread& blocked, RowBuilder& rows) const {
  const Snapshot& snapshot = *report_.snapshot;
  const Thread& thread = snapshot.threads[blocked.thread];
  const Task& task = *blocked.task;
  const ReportTask* outer = thread.outer_task ? find_task(report_, *thread.outer_task) : nullptr;
  // block_in_place hands a worker's loop to a thread that runs it as a blocking task.
  const bool is_worker =
      outer != nullptr &&
      (outer->kind == ReportTaskKind::kWorker ||
       (outer->type && report_.types[*outer->type].find("::worker::") != std::string::npos));
  size_t workers = 0, scheduled = 0;
  for (const ReportTask& other : report_.tasks) {
    workers += other.kind == ReportTaskKind::kWorker;
    // Without workers a runtime's tasks are polled by the one thread that drives it.
    const bool may_stand_behind = is_worker || other.task->last_poll_tid == thread.tid;
    scheduled += other.task->state == TaskState::kScheduled && may_stand_behind;
  }
  Suspect suspect;
  suspect.kind = name(SuspectKind::kBlockedWorker);
  suspect.evidence =
      fmt::format("{} tid {}: {}{} in one poll of task {}", is_worker ? "worker" : "thread", thread.tid,
                  snapshot.durations_at_least ? "at least " : "", format_duration(task.in_state_ns), task.id);
  if (scheduled > 0) {
    suspect.evidence +=
        fmt::format("; {} task{} scheduled{}", scheduled, scheduled == 1 ? "" : "s",
                    is_worker && workers > 1 ? ", which other workers may take" : " behind it");
  }
  Group& group = suspect.group;
  group.group_class = GroupClass::kRunning;
  group.tasks = {task.id};
  group.waiting = {task.in_state_ns, task.in_state_ns, task.in_state_ns, true};
  const ReportTask& known = *find_task(report_, task.id);
  group.rows = known.running_stack
                   ? rows.draw_native(*known.running_stack)
                   : rows.draw_unknown(known.type, "stack unknown: " + thread.no_native_stack).rows;
  if (known.running_stack) group.stacks = {*known.running_stack};
  return suspect;
}

std::string SuspectFinder::not_served(const Group& group) const {
  const Snapshot& snapshot = *report_.snapshot;
  const auto& unserved = *std::ranges::find(snapshot.unserved, group.tasks.front(), &Unserved::task);
  const ReportTask& task = *find_task(report_, unserved.task);
  const auto function_of = [&](uint64_t id) {
    const ReportTask* of = find_task(report_, id);
    return of != nullptr && of->type ? report_.types[*of->type] : fmt::format("task {}", id);
  };
  std::string loop;
  switch (unserved.loop) {
    case LoopState::kSleeps: loop = fmt::format("the loop of thread {} sleeps", unserved.tid); break;
    case LoopState::kTurns:
      loop = fmt::format("the loop of thread {} turned {} times", unserved.tid, unserved.turns);
      break;
    case LoopState::kAway:
      loop = fmt::format("thread {} does not come back to its loop", unserved.tid);
      break;
    case LoopState::kInCallback:
      loop = fmt::format("thread {} is in one call of {}", unserved.tid, function_of(unserved.callback));
  }
  const std::string omission =
      task.type ? function_of(unserved.task) + " was not called" : "nobody took it up";
  const std::string what =
      unserved.is_timer ? fmt::format("it has been due for {}", format_duration(unserved.ready_ns))
                        : fmt::format("{} has been ready for {}", descriptor_phrase(*task.task, snapshot),
                                      format_duration(unserved.ready_ns));
  return fmt::format("{} and {}{}; seen {}at {} looks, while {}", what, omission,
                     group.tasks.size() > 1 ? fmt::format(", like {} others", group.tasks.size() - 1) : "",
                     unserved.is_timer ? "" : fmt::format("by {} ", unserved.seen_by), unserved.looks, loop);
}

Suspect SuspectFinder::waiting(Group group) const {
  const bool one = group.tasks.size() == 1;
  Suspect suspect;
  const SuspectKind kind = *kind_of(group.tasks.front());
  suspect.kind = name(kind);
  if (kind == SuspectKind::kNoWaker) {
    suspect.evidence = one ? "nothing can wake it (its waker was dropped)"
                           : "nothing can wake them (their wakers were dropped)";
  } else if (kind == SuspectKind::kReadyNotServed) {
    suspect.evidence = not_served(group);
  } else {
    // All rows of a group read the same, the awaited tasks included.
    suspect.evidence = "waits for suspect " + why_waiting(*find_task(report_, group.tasks.front()));
  }
  suspect.group = std::move(group);
  return suspect;
}

void SuspectFinder::add_suspects(std::vector<Group> waiting, RowBuilder& rows, Report& report) const {
  std::vector<Suspect>& suspects = report.suspects;
  for (const std::vector<uint64_t>& circle : circles_) suspects.push_back(deadlock(circle, rows));
  for (const BlockedThread& blocked : blocked_) suspects.push_back(blocked_worker(blocked, rows));
  for (Group& group : waiting) suspects.push_back(this->waiting(std::move(group)));
  // Causes first, then what they hold up; the oldest first.
  const auto rank = [](const Suspect& suspect) {
    return std::tuple(suspect.kind == name(SuspectKind::kWaitsOnSuspect),
                      UINT64_MAX - suspect.group.waiting.max_ns, suspect.group.tasks.front());
  };
  std::sort(suspects.begin(), suspects.end(),
            [&](const Suspect& a, const Suspect& b) { return rank(a) < rank(b); });
}

}  // namespace asynctrace
