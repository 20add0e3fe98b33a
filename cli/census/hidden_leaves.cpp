#include "cli/census/hidden_leaves.hpp"

#include <algorithm>
#include <map>
#include <string>

#include "cli/census/future_walker.hpp"
#include "cli/tree/names.hpp"

namespace asynctrace {
namespace {

// No code lies there, so that these addresses stand for stacks that have none.
constexpr uint64_t kNowhere = uint64_t{1} << 63;

// Outermost first.
using Chain = std::vector<const FutureNode*>;

bool add_chains(const std::vector<FutureNode>& nodes, Chain& above, std::vector<Chain>& chains) {
  for (const FutureNode& node : nodes) {
    if (!node.reason.empty() || node.state != BodyState::kSuspended) return false;
    above.push_back(&node);
    if (node.children.empty()) chains.push_back(above);
    if (!add_chains(node.children, above, chains)) return false;
    above.pop_back();
  }
  return true;
}

// What tells one place of a task from another.
using Place = std::vector<std::pair<std::string, uint32_t>>;

Place place_of(const Chain& chain) {
  Place place;
  for (const FutureNode* node : chain) place.emplace_back(node->frame.function, node->frame.line);
  return place;
}

std::vector<std::string> bodies_of(const Chain& chain) {
  std::vector<std::string> bodies;
  for (const FutureNode* node : chain)
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

class StackMaker {
 public:
  StackMaker(Snapshot& snapshot, Symbolizer& symbols) : snapshot_(snapshot), symbols_(symbols) {}

  uint32_t stack(const Chain& chain) {
    const auto [entry, is_new] = known_.try_emplace(place_of(chain), snapshot_.stacks.size());
    if (!is_new) return entry->second;
    std::vector<Frame> innermost_first;
    for (auto node = chain.rbegin(); node != chain.rend(); ++node) innermost_first.push_back((*node)->frame);
    const uint64_t address = kNowhere + snapshot_.stacks.size();
    symbols_.define(address, std::move(innermost_first));
    snapshot_.stacks.push_back({{address}});
    return entry->second;
  }

 private:
  Snapshot& snapshot_;
  Symbolizer& symbols_;
  std::map<Place, uint32_t> known_;
};

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
    const TypeId cell = types.task_cell(task->task->poll_function);
    if (cell == kNoType) continue;
    const std::vector<FutureNode> nodes = walker.walk_task(cell, task->task->address);
    const std::vector<FutureNode> again = walker.walk_task(cell, task->task->address);
    Chain above;
    std::vector<Chain> chains, same;
    if (!add_chains(nodes, above, chains)) continue;
    above.clear();
    if (!add_chains(again, above, same) || !std::ranges::equal(chains, same, {}, place_of, place_of))
      continue;

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
