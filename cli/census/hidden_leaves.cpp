#include "cli/census/hidden_leaves.hpp"

#include <algorithm>
#include <string>

#include "cli/census/chains.hpp"
#include "cli/tree/names.hpp"

namespace asynctrace {
namespace {

std::vector<std::string> bodies_of(const Chain& chain) {
  std::vector<std::string> bodies;
  for (const FutureNode* node : chain.nodes)
    if (node->kind == FutureKind::kBody) bodies.push_back(node->frame.raw);
  return bodies;
}

std::vector<std::string> bodies_of(const ReportStack& stack, const Report& report) {
  std::vector<std::string> bodies;
  for (const uint32_t index : stack.frames) {
    const Frame& frame = report.symbols->frames()[report.frames[index].source];
    if (is_async_body(frame.debug_name)) bodies.push_back(frame.raw);
  }
  return bodies;
}

// The places that the agent saw: all confirmed leaves but the combinators that hide theirs.
std::vector<std::vector<std::string>> seen_places(const ReportTask& task, const Report& report) {
  std::vector<std::vector<std::string>> seen;
  for (const ReportLeaf& leaf : task.leaves) {
    if (!leaf.confirmed || !leaf.stack || leaf.reason == LeafReason::kChildrenHidden) continue;
    seen.push_back(bodies_of(report.stacks[*leaf.stack], report));
  }
  return seen;
}

bool is_known(const Chain& chain) {
  return chain.reason.empty();
}

}  // namespace

std::vector<const ReportTask*> tasks_with_hidden_leaves(const Report& report) {
  std::vector<const ReportTask*> found;
  for (const ReportTask& task : report.tasks) {
    if (task.kind != ReportTaskKind::kTask || task.task->runtime != RuntimeId::kTokio ||
        task.task->state != TaskState::kWaiting) {
      continue;
    }
    const bool any_shown = std::ranges::any_of(task.leaves, &ReportLeaf::shown);
    const bool any_hidden = std::ranges::any_of(
        task.leaves, [](const ReportLeaf& leaf) { return leaf.reason == LeafReason::kChildrenHidden; });
    if (!any_shown || any_hidden) found.push_back(&task);
  }
  return found;
}

bool add_hidden_leaves(const std::vector<const ReportTask*>& tasks, const Report& report, DwarfTypes& types,
                       const Memory& memory, Snapshot& snapshot, Symbolizer& symbols) {
  FutureWalker walker(types, memory);
  StackMaker stacks(snapshot, symbols);
  bool added = false;
  for (const ReportTask* task : tasks) {
    const TaskShape shape = types.task_shape(task->task->poll_function);
    if (!shape.is_known()) continue;
    const std::vector<FutureNode> nodes = walker.walk_task(shape, task->task->address);
    const std::vector<FutureNode> again = walker.walk_task(shape, task->task->address);
    const std::vector<Chain> chains = chains_of(nodes);
    if (!std::ranges::all_of(chains, is_known) || !same_places(chains, chains_of(again))) continue;

    const auto seen = seen_places(*task, report);
    Task& target = *std::ranges::find(snapshot.tasks, task->task->id, &Task::id);
    for (const Chain& chain : chains) {
      if (std::ranges::find(seen, bodies_of(chain)) != seen.end()) continue;
      Leaf leaf;
      leaf.stack = stacks.stack(chain);
      leaf.waiting_ns = target.in_state_ns;
      leaf.own_waker = false;  // its combinator, if it has one, is a way to it and no place of its own
      leaf.from_debug_info = true;
      target.leaves.push_back(leaf);
      added = true;
    }
  }
  return added;
}

}  // namespace asynctrace
