#include "cli/tree/causes.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "cli/tree/findings.hpp"
#include "cli/tree/task_types.hpp"

namespace asynctrace {
namespace {

std::string_view mark(CauseState state) {
  switch (state) {
    case CauseState::kKnown: return "";
    case CauseState::kGone: return " (gone)";
    case CauseState::kArmedAgain: return " (armed again since)";
    case CauseState::kUnknown: return " (how it was armed is not known)";
  }
  return "";
}

// The innermost of the user's; of a stack without any the innermost of all.
const ReportFrame* place(const ReportStack& stack, const Report& report) {
  const auto own = std::find_if(stack.frames.rbegin(), stack.frames.rend(), [&](uint32_t frame) {
    return report.frames[frame].frame_class == FrameClass::kUser;
  });
  if (own != stack.frames.rend()) return &report.frames[*own];
  return stack.frames.empty() ? nullptr : &report.frames[stack.frames.back()];
}

Row row_of(const ReportCause& cause, const Report& report) {
  const ReportFrame* armed_in = cause.stack ? place(report.stacks[*cause.stack], report) : nullptr;
  const std::string where = armed_in != nullptr ? armed_in->name : "";
  Row row;
  if (cause.task == 0) row.text = "spawned in " + where;
  else if (cause.function.empty()) row.text = fmt::format("caused by task {}", cause.task);
  else row.text = "caused by " + cause.function;
  row.text += mark(cause.state);
  if (cause.task != 0 && armed_in != nullptr) row.text += ", armed in " + where;
  if (armed_in != nullptr) row.position = armed_in->position;
  return row;
}

}  // namespace

std::optional<uint32_t> CauseTable::add(const Task& task) {
  CauseChain chain;
  if (task.watcher) {
    for (const Cause& cause : task.watcher->causes) {
      chain.links.push_back({cause.task, cause.callback ? function_of_(*cause.callback) : "",
                             stacks_.add(cause.stack), cause.state});
    }
    chain.more = task.watcher->more_causes;
  } else if (task.native && task.native->spawn_stack) {
    chain.links.push_back({0, "", stacks_.add(task.native->spawn_stack), CauseState::kKnown});
  }
  if (chain.links.empty()) return std::nullopt;
  report_.causes.push_back(std::move(chain));
  return static_cast<uint32_t>(report_.causes.size() - 1);
}

void CauseTable::finish() {
  for (CauseChain& chain : report_.causes) {
    for (ReportCause& cause : chain.links) {
      if (cause.task == 0 || !cause.function.empty()) continue;
      const ReportTask* task = find_task(report_, cause.task);
      if (task == nullptr) cause.state = CauseState::kGone;
      else if (task->type) cause.function = display_type(report_.types[*task->type]);
    }
    draw(chain);
  }
}

void CauseTable::draw(CauseChain& chain) {
  std::vector<Row> rows;
  std::string text;
  for (const ReportCause& cause : chain.links) rows.push_back(row_of(cause, report_));
  if (chain.more) rows.emplace_back().text = "...";
  for (const Row& row : rows) text += fmt::format("{}\n{}\n", row.text, row.position);
  const auto [entry, is_new] =
      drawn_.try_emplace(std::move(text), static_cast<uint32_t>(report_.drawn_causes.size()));
  if (is_new) report_.drawn_causes.push_back(std::move(rows));
  chain.drawn = entry->second;
}

}  // namespace asynctrace
