#include "cli/tree/leaves.hpp"

#include <algorithm>
#include <tuple>

namespace asynctrace {
namespace {

struct Newest {
  uint32_t stack;
  uint64_t registered;
  bool own_waker;
  bool excluded = false;
};

void confirm(const std::vector<const Leaf*>& sources, std::vector<ReportLeaf>& leaves, StackTable& stacks) {
  std::vector<Newest> newest;  // per distinct stack of confirmed leaves, in the order of registration
  for (size_t i = 0; i < leaves.size(); ++i) {
    leaves[i].confirmed = sources[i]->confirmed;
    if (!leaves[i].confirmed) leaves[i].reason = LeafReason::kNotRenewed;
    if (!leaves[i].confirmed || !leaves[i].stack) continue;
    const auto same = std::find_if(newest.begin(), newest.end(),
                                   [&](const Newest& other) { return other.stack == *leaves[i].stack; });
    if (same == newest.end()) {
      newest.push_back({*leaves[i].stack, sources[i]->registered, sources[i]->own_waker});
    } else {
      same->registered = std::max(same->registered, sources[i]->registered);
    }
  }
  if (newest.size() < 2) return;
  for (Newest& older : newest) {
    older.excluded = std::any_of(newest.begin(), newest.end(), [&](const Newest& newer) {
      return newer.registered > older.registered &&
             stacks.exclude_each_other(older.stack, newer.stack, older.own_waker && newer.own_waker);
    });
  }
  for (ReportLeaf& leaf : leaves) {
    if (!leaf.confirmed || !leaf.stack) continue;
    const auto found = std::find_if(newest.begin(), newest.end(),
                                    [&](const Newest& entry) { return entry.stack == *leaf.stack; });
    if (!found->excluded) continue;
    leaf.confirmed = false;
    leaf.reason = LeafReason::kOtherAwait;
  }
}

LeafReason reason_of(WatcherDoubt doubt) {
  switch (doubt) {
    case WatcherDoubt::kNone: break;
    case WatcherDoubt::kArmingUnseen: return LeafReason::kArmingUnseen;
    case WatcherDoubt::kCallsUnseen: return LeafReason::kCallsUnseen;
    case WatcherDoubt::kEndUnseen: return LeafReason::kEndUnseen;
  }
  return LeafReason::kNone;
}

LeafReason find_reason(const Task& task, const Leaf& source, const ReportLeaf& leaf, bool has_children,
                       StackTable& stacks, const Report& report) {
  if (!leaf.stack) return LeafReason::kStackLost;
  if (task.watcher && task.watcher->doubt != WatcherDoubt::kNone) return reason_of(task.watcher->doubt);
  if (source.waker_gone) return LeafReason::kWakerGone;
  if (source.may_run) return LeafReason::kMayRun;
  if (source.unverified) return LeafReason::kUnverified;
  if (source.unsure_link) return LeafReason::kUnsureLink;
  if (is_coroutine(task.runtime)) return LeafReason::kNone;
  if (task.from_census && source.label) return LeafReason::kNotFollowed;
  const ReportStack& stack = report.stacks[*leaf.stack];
  if (stack.kind.internal) return LeafReason::kExecutor;
  if (stack.kind.combinator) {
    if (has_children) return LeafReason::kChildrenShown;
    const bool apart = task.kind == TaskKind::kWaker && stacks.has_children_apart(*leaf.stack);
    return apart ? LeafReason::kChildrenApart : LeafReason::kChildrenHidden;
  }
  if (source.from_debug_info && !task.from_census) return LeafReason::kFromDebugInfo;
  if (!source.exact_end) return LeafReason::kNoExactEnd;
  const Stack& raw = report.snapshot->stacks[stack.source];
  if (raw.incomplete || raw.truncated) return LeafReason::kStackIncomplete;
  if (task.kind == TaskKind::kWaker) return LeafReason::kWakerAlone;
  if (stack.kind.known) return LeafReason::kNone;
  return stack.kind.text == LeafKind{}.text ? LeafReason::kNoSymbols : LeafReason::kUnknownKind;
}

bool is_place(const ReportLeaf& leaf) {
  return leaf.reason != LeafReason::kChildrenShown && leaf.reason != LeafReason::kChildrenApart &&
         leaf.reason != LeafReason::kExecutor;
}

}  // namespace

std::string_view describe(LeafReason reason) {
  switch (reason) {
    case LeafReason::kNone: return "";
    case LeafReason::kNotRenewed: return "not renewed in the task's last poll";
    case LeafReason::kOtherAwait: return "its async body has since reached another await";
    case LeafReason::kStackLost: return "its stack was lost";
    case LeafReason::kStackIncomplete: return "its stack is incomplete";
    case LeafReason::kNoSymbols: return "no symbols";
    case LeafReason::kUnknownKind: return "not in the table of leaf kinds";
    case LeafReason::kNoExactEnd: return "the program holds the original waker: it may have ended";
    case LeafReason::kChildrenHidden: return "children not observable";
    case LeafReason::kChildrenShown: return "its children are leaves of this task";
    case LeafReason::kChildrenApart: return "its children are listed on their own";
    case LeafReason::kWakerAlone: return "known by its waker alone: the task may have ended";
    case LeafReason::kFromDebugInfo: return "from debug info: the agent did not see it";
    case LeafReason::kExecutor: return "the executor waits for work here, not the task";
    case LeafReason::kWakerGone: return "its waker was dropped";
    case LeafReason::kNotFollowed: return "its future could not be followed in memory";
    case LeafReason::kUnsureLink: return "who awaits whom is likely, not certain";
    case LeafReason::kUnverified: return "a frame of its coroutines may have been freed";
    case LeafReason::kMayRun: return "a thread may be executing one of its coroutines";
    case LeafReason::kArmingUnseen: return "the agent did not see it armed";
    case LeafReason::kCallsUnseen:
      return "the program changed its callback while it waited: calls are not counted since";
    case LeafReason::kEndUnseen: return "the end of such a source is not seen: it may be over";
  }
  return "";
}

std::vector<ReportLeaf> judge_leaves(const Task& task, StackTable& stacks, const Report& report) {
  std::vector<const Leaf*> sources;
  sources.reserve(task.leaves.size());
  for (const Leaf& leaf : task.leaves) sources.push_back(&leaf);
  std::stable_sort(sources.begin(), sources.end(), [](const Leaf* a, const Leaf* b) {
    return std::tie(a->registered, b->waiting_ns, a->joins_address) <
           std::tie(b->registered, a->waiting_ns, b->joins_address);
  });

  std::vector<ReportLeaf> leaves(sources.size());
  for (size_t i = 0; i < leaves.size(); ++i) {
    leaves[i].stack = stacks.add(sources[i]->stack, sources[i]->joins_address != 0, sources[i]->label);
    leaves[i].source = sources[i];
  }
  confirm(sources, leaves, stacks);

  const bool has_children =
      std::any_of(sources.begin(), sources.end(), [](const Leaf* leaf) { return !leaf->own_waker; });
  for (size_t i = 0; i < leaves.size(); ++i) {
    if (!leaves[i].confirmed) continue;
    leaves[i].reason = find_reason(task, *sources[i], leaves[i], has_children, stacks, report);
    // A way to its children, or nobody's wait: no place of its own.
    if (!is_place(leaves[i]) || leaves[i].reason == LeafReason::kMayRun) leaves[i].confirmed = false;
  }

  const bool any_confirmed = std::any_of(
      leaves.begin(), leaves.end(), [&](const ReportLeaf& leaf) { return is_place(leaf) && leaf.confirmed; });
  const auto is_internal = [&](const ReportLeaf& leaf) {
    return leaf.stack && report.stacks[*leaf.stack].internal;
  };
  bool any_external = false;
  for (ReportLeaf& leaf : leaves) {
    leaf.shown = is_place(leaf) && (leaf.confirmed || !any_confirmed || leaf.reason == LeafReason::kMayRun);
    any_external |= leaf.shown && !is_internal(leaf);
  }
  for (ReportLeaf& leaf : leaves) leaf.shown &= !any_external || !is_internal(leaf);
  return leaves;
}

}  // namespace asynctrace
