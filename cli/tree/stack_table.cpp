#include "cli/tree/stack_table.hpp"

#include <algorithm>
#include <span>
#include <unordered_set>

#include "cli/tree/names.hpp"
#include "cli/tree/source_paths.hpp"
#include "cli/tree/tree.hpp"

namespace asynctrace {
namespace {

// What polls many futures of one type from one place: two stacks that part below may be two of them.
constexpr std::string_view kHolders[] = {"futures_util::future::join_all::",
                                         "futures_util::future::try_join_all::",
                                         "futures_util::future::select_all::",
                                         "futures_util::future::select_ok::",
                                         "futures_util::stream::futures_unordered",
                                         "futures_util::stream::futures_ordered",
                                         "futures_util::stream::select_all::",
                                         "tokio_stream::stream_map::",
                                         "tokio_util::task::join_map::",
                                         "futures_buffered::",
                                         "futures_concurrency::"};

bool holds_many(const Frame& frame) {
  const std::string function = without_generics(frame.function);
  return std::any_of(std::begin(kHolders), std::end(kHolders),
                     [&](std::string_view holder) { return function.find(holder) != std::string::npos; });
}

bool same_function(const Frame& a, const Frame& b) {
  if (!a.raw.empty() || !b.raw.empty()) return a.raw == b.raw;
  return !a.function.empty() && a.function == b.function;
}

bool same_place(const Frame& a, const Frame& b) {
  return a.line == b.line && a.column == b.column;
}

}  // namespace

std::optional<uint32_t> StackTable::add(std::optional<uint32_t> stack, bool joins,
                                        std::optional<uint32_t> label) {
  if (!stack || *stack >= snapshot_.stacks.size()) return std::nullopt;
  const auto [entry, is_new] =
      stacks_.try_emplace({*stack, label}, static_cast<uint32_t>(report_.stacks.size()));
  if (!is_new) return entry->second;

  ReportStack result;
  result.source = *stack;
  result.internal = true;
  for (const uint32_t frame : to_frames(snapshot_.stacks[*stack].pcs, symbols_)) {
    result.frames.push_back(add_frame(frame));
  }
  std::vector<ClassifiedFrame> innermost_first;
  for (auto frame = result.frames.rbegin(); frame != result.frames.rend(); ++frame) {
    const ReportFrame& known = report_.frames[*frame];
    innermost_first.push_back({&symbols_.frames()[known.source], known.frame_class});
    const bool is_user = known.frame_class == FrameClass::kUser;
    result.has_user_frame |= is_user;
    result.internal &= !is_user && known.frame_class != FrameClass::kLibrary;
  }
  result.kind = label && *label < snapshot_.labels.size() ? labelled_kind(snapshot_.labels[*label])
                                                          : classify_leaf(innermost_first);
  result.internal |= result.kind.internal;
  if (joins && !result.kind.known) result.kind = {"JoinHandle", LeafClass::kJoin, true};
  report_.stacks.push_back(std::move(result));
  return entry->second;
}

std::vector<uint64_t> inside_poll(const std::vector<uint64_t>& pcs, const Snapshot& snapshot) {
  std::vector<uint64_t> inside;
  for (const uint64_t pc : pcs) {
    if (snapshot.poll_hook.has_return(pc) || snapshot.dispatch_hook.has_return(pc)) break;
    if (!snapshot.agent.has_return(pc)) inside.push_back(pc);
  }
  return inside;
}

uint32_t StackTable::add_native(uint32_t stack, bool in_task) {
  const std::vector<uint64_t>& all = snapshot_.stacks[stack].pcs;
  std::vector<uint64_t> pcs = in_task ? inside_poll(all, snapshot_) : all;
  std::erase_if(pcs, [&](uint64_t pc) { return snapshot_.agent.has_return(pc); });
  ReportStack result;
  result.source = stack;
  for (const uint32_t frame : to_frames(pcs, symbols_)) {
    result.frames.push_back(add_frame(frame));
    result.has_user_frame |= report_.frames[result.frames.back()].frame_class == FrameClass::kUser;
  }
  report_.stacks.push_back(std::move(result));
  return static_cast<uint32_t>(report_.stacks.size() - 1);
}

uint32_t StackTable::add_frame(uint32_t frame) {
  const auto [entry, is_new] = frames_.try_emplace(frame, static_cast<uint32_t>(report_.frames.size()));
  if (!is_new) return entry->second;
  const Frame& source = symbols_.frames()[frame];
  const bool in_module = source.module && *source.module < snapshot_.modules.size();
  const std::string_view module = in_module ? std::string_view(snapshot_.modules[*source.module].path) : "";
  std::string file = map_source(source.file, options_.sources);
  std::string position = display_position(source, file, options_.sources.root);
  report_.frames.push_back({frame, classify_frame(source, module), display_name(source, module),
                            std::move(position), std::move(file)});
  return entry->second;
}

bool StackTable::exclude_each_other(uint32_t a, uint32_t b, bool same_waker) {
  if (a == b) return false;
  const uint64_t key = uint64_t{std::min(a, b)} << 32 | std::max(a, b);
  const auto [entry, is_new] = exclusive_.try_emplace(key, false);
  if (is_new) entry->second = part_in_async_body(a, b, same_waker);
  return entry->second;
}

bool StackTable::part_in_async_body(uint32_t a, uint32_t b, bool same_waker) {
  const std::vector<uint64_t>& pcs_a = snapshot_.stacks[report_.stacks[a].source].pcs;
  const std::vector<uint64_t>& pcs_b = snapshot_.stacks[report_.stacks[b].source].pcs;
  const auto parting = std::mismatch(pcs_a.rbegin(), pcs_a.rend(), pcs_b.rbegin(), pcs_b.rend());
  if (parting.first == pcs_a.rend() || parting.second == pcs_b.rend()) return false;

  // Only the inlined calls of the first address that differs can be where they part: below it, equal lines no
  // longer mean the same call.
  const std::vector<uint32_t> frames_a = to_frames(std::span(&*parting.first, 1), symbols_);
  const std::vector<uint32_t> frames_b = to_frames(std::span(&*parting.second, 1), symbols_);
  const std::vector<Frame>& frames = symbols_.frames();
  const auto differ = std::mismatch(
      frames_a.begin(), frames_a.end(), frames_b.begin(), frames_b.end(), [&](uint32_t x, uint32_t y) {
        return same_function(frames[x], frames[y]) && same_place(frames[x], frames[y]);
      });
  if (differ.first == frames_a.end() || differ.second == frames_b.end()) return false;
  const Frame& body_a = frames[*differ.first];
  const Frame& body_b = frames[*differ.second];
  if (!same_function(body_a, body_b) || !is_async_body(body_a.debug_name) || body_a.line == 0 ||
      body_b.line == 0) {
    return false;
  }

  // Outwards from the body to the next body: that one is at one await, so everything above it is common.
  std::vector<uint32_t> above = to_frames(std::span(pcs_a).last(parting.first - pcs_a.rbegin()), symbols_);
  above.insert(above.end(), frames_a.begin(), differ.first);
  for (auto frame = above.rbegin(); frame != above.rend(); ++frame) {
    if (is_async_body(frames[*frame].debug_name)) break;
    if (same_waker && is_combinator(frames[*frame])) break;
    if (holds_many(frames[*frame])) return false;
  }
  return true;
}

bool StackTable::has_children_apart(uint32_t stack) {
  const auto [entry, is_new] = parents_.try_emplace(stack, false);
  if (!is_new) return entry->second;
  std::unordered_set<uint32_t> others{report_.stacks[stack].source};
  for (const Task& task : snapshot_.tasks) {
    if (task.kind != TaskKind::kWaker) continue;
    for (const Leaf& leaf : task.leaves) {
      if (!leaf.stack || !others.insert(*leaf.stack).second) continue;
      if (part_in_combinator(report_.stacks[stack].source, *leaf.stack)) return entry->second = true;
    }
  }
  return false;
}

// Seen from the thread's start they part in one combinator, at two calls of its: one registers whom it wakes,
// the other polls a child. By name and line, for a loop around it may poll from several addresses.
bool StackTable::part_in_combinator(uint32_t source_a, uint32_t source_b) {
  const std::vector<uint32_t> frames_a = to_frames(snapshot_.stacks[source_a].pcs, symbols_);
  const std::vector<uint32_t> frames_b = to_frames(snapshot_.stacks[source_b].pcs, symbols_);
  const std::vector<Frame>& frames = symbols_.frames();
  const auto parting = std::mismatch(
      frames_a.begin(), frames_a.end(), frames_b.begin(), frames_b.end(), [&](uint32_t x, uint32_t y) {
        return same_function(frames[x], frames[y]) && same_place(frames[x], frames[y]);
      });
  if (parting.first == frames_a.end() || parting.second == frames_b.end()) return false;
  const Frame& a = frames[*parting.first];
  return same_function(a, frames[*parting.second]) && is_combinator(a);
}

}  // namespace asynctrace
