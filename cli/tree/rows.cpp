#include "cli/tree/rows.hpp"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "cli/tree/task_types.hpp"

namespace asynctrace {
namespace {

// What a row says beyond its kind; the JSON has the full reason.
std::string_view mark(LeafReason reason) {
  switch (reason) {
    case LeafReason::kNotRenewed:
    case LeafReason::kOtherAwait: return " (unconfirmed)";
    case LeafReason::kStackLost: return " (stack lost)";
    case LeafReason::kStackIncomplete: return " (stack incomplete)";
    case LeafReason::kNoExactEnd:
    case LeafReason::kEndUnseen: return " (may have ended)";
    case LeafReason::kArmingUnseen: return " (armed unseen)";
    case LeafReason::kCallsUnseen: return " (callback changed)";
    case LeafReason::kChildrenHidden: return " (children not observable)";
    case LeafReason::kFromDebugInfo: return " [from debug info]";
    case LeafReason::kUnsureLink: return " [awaited by: likely]";
    case LeafReason::kUnverified: return " [unverified: may have been freed]";
    case LeafReason::kMayRun: return " [unless it runs]";
    default: return "";
  }
}

// Of a line that belongs to the row above.
std::string drawing_below(std::string drawing) {
  for (const auto& [row, line] : {std::pair("├╼ ", "│  "), std::pair("└╼ ", "   "), std::pair("╼ ", "  ")}) {
    if (!drawing.ends_with(row)) continue;
    drawing.replace(drawing.size() - std::string_view(row).size(), std::string::npos, line);
    break;
  }
  return drawing;
}

}  // namespace

LeafKey leaf_key(const ReportTask& task, const ReportLeaf& leaf, const Report& report) {
  const bool is_join = leaf.stack && report.stacks[*leaf.stack].kind.leaf_class == LeafClass::kJoin;
  return {leaf.stack,
          is_join || leaf.is_held() ? leaf.source->waits_for_task.value_or(0) : 0,
          leaf.is_held(),
          leaf.reason,
          task.task->watcher ? std::optional<uint32_t>(task.type) : std::nullopt,
          task.causes ? std::optional(report.causes[*task.causes].drawn) : std::nullopt};
}

uint32_t RowBuilder::intern(std::string text, std::string position, bool is_user, bool is_leaf,
                            std::optional<uint32_t> frame) {
  std::string label = fmt::format("{}\n{}\n{}", text, position, is_leaf ? 'l' : 'f');
  const auto [entry, is_new] = by_label_.try_emplace(label, static_cast<uint32_t>(interned_.size()));
  if (is_new)
    interned_.push_back({std::move(label), std::move(text), std::move(position), is_user, is_leaf, frame});
  return entry->second;
}

// Leaves that differ in what led to them alone are rows of their own.
uint32_t RowBuilder::intern_leaf(std::string text, std::optional<uint32_t> causes) {
  if (!causes) return intern(std::move(text), {}, false, true);
  std::string label = fmt::format("{}\n\nl{}", text, *causes);
  const auto [entry, is_new] = by_label_.try_emplace(label, static_cast<uint32_t>(interned_.size()));
  if (is_new) interned_.push_back({std::move(label), std::move(text), {}, false, true, {}, causes});
  return entry->second;
}

std::vector<uint32_t> RowBuilder::path(const LeafKey& key) {
  std::vector<uint32_t> nodes;
  LeafKind kind;
  bool names_itself = false;
  if (key.stack) {
    const ReportStack& stack = report_.stacks[*key.stack];
    kind = stack.kind;
    const FrameClass wanted = stack.has_user_frame ? FrameClass::kUser : FrameClass::kLibrary;
    for (const uint32_t index : stack.frames) {
      const ReportFrame& frame = report_.frames[index];
      if (view_ == FrameView::kUser && frame.frame_class != wanted) continue;
      names_itself |= frame.name == kind.text;
      nodes.push_back(
          intern(frame.name, frame.position, frame.frame_class == FrameClass::kUser, false, index));
    }
  }
  // A hand-written future is its own leaf: its name would only be repeated.
  if (!kind.known && names_itself && mark(key.reason).empty()) return nodes;
  if (!kind.known && names_itself && key.reason == LeafReason::kFromDebugInfo) nodes.pop_back();
  std::string text = kind.text;
  if (key.joins != 0) text += fmt::format("{} task {}", key.is_held ? ", held by" : " of", key.joins);
  if (key.calls) text += ", calls " + report_.types[*key.calls];
  text += mark(key.reason);
  nodes.push_back(intern_leaf(std::move(text), key.causes));
  return nodes;
}

RowBuilder::Drawn RowBuilder::finish(const std::vector<SymbolTrace>& traces) {
  Drawn drawn;
  std::map<Symbol, uint32_t> row_of;
  for (const Tree::Line& line : Tree::from_trace(traces).display(
           [&](uint32_t node) -> std::string_view { return interned_[node].label; })) {
    const Interned& source = interned_[line.symbol.node];
    row_of.emplace(line.symbol, static_cast<uint32_t>(drawn.rows.size()));
    Row row;
    row.drawing = line.drawing;
    row.depth = line.depth;
    row.text = source.text;
    row.position = source.position;
    row.frame = source.frame;
    row.is_user = source.is_user;
    row.is_leaf = line.traces > 0;
    row.per_task = std::max<size_t>(line.traces, 1);
    drawn.text += fmt::format("{}{}\n{}\n", row.drawing, source.label, line.traces);
    const std::string below = drawing_below(row.drawing);
    drawn.rows.push_back(std::move(row));
    if (!source.causes) continue;
    for (Row cause : report_.drawn_causes[*source.causes]) {
      cause.drawing = below;
      cause.depth = line.depth + 1;
      drawn.rows.push_back(std::move(cause));
    }
  }
  for (const SymbolTrace& trace : traces) {
    drawn.row_of.insert(drawn.row_of.end(), trace.count, row_of.at(trace.symbols.back()));
  }
  return drawn;
}

RowBuilder::Drawn RowBuilder::draw(const std::vector<LeafKey>& keys) {
  std::vector<SymbolTrace> traces;
  for (auto key = keys.begin(); key != keys.end();) {
    const auto next = std::upper_bound(key, keys.end(), *key);
    traces.push_back(to_symboltrace(path(*key), static_cast<size_t>(next - key)));
    key = next;
  }
  return finish(traces);
}

std::vector<Row> RowBuilder::draw_native(uint32_t stack) {
  const ReportStack& source = report_.stacks[stack];
  const FrameClass wanted = source.has_user_frame ? FrameClass::kUser : FrameClass::kLibrary;
  std::vector<uint32_t> nodes;
  const ReportFrame* callee = nullptr;
  for (const uint32_t index : source.frames) {
    const ReportFrame& frame = report_.frames[index];
    const bool is_shown = view_ == FrameView::kAll || frame.frame_class == wanted;
    if (is_shown) {
      nodes.push_back(
          intern(frame.name, frame.position, frame.frame_class == FrameClass::kUser, false, index));
      callee = nullptr;
    } else if (callee == nullptr) {
      callee = &frame;
    }
  }
  const std::string what = callee != nullptr ? callee->name + "  [native stack]" : "[native stack]";
  nodes.push_back(intern(what, {}, false, true));
  return finish({to_symboltrace(nodes)}).rows;
}

RowBuilder::Drawn RowBuilder::draw_unknown(std::optional<uint32_t> type, std::string_view what) {
  std::vector<uint32_t> nodes;
  if (type) nodes.push_back(intern(display_type(report_.types[*type]), {}, true, false));
  nodes.push_back(intern(std::string(what), {}, false, true));
  return finish({to_symboltrace(nodes)});
}

}  // namespace asynctrace
