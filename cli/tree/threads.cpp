#include "cli/tree/threads.hpp"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "cli/tree/rows.hpp"

namespace asynctrace {

void add_threads(Report& report, StackTable& stacks, const ReportOptions& options) {
  const bool any_known = std::ranges::any_of(
      report.snapshot->threads, [](const Thread& thread) { return thread.native_stack.has_value(); });
  if (report.snapshot->source != DumpSource::kCensus || !any_known) return;
  RowBuilder builder(report, options.frames);
  std::map<std::string, size_t> known;
  for (const Thread& thread : report.snapshot->threads) {
    auto& stack = report.thread_stacks.emplace_back();
    if (!thread.native_stack) continue;
    stack = stacks.add_native(*thread.native_stack, false);
    std::vector<Row> rows = builder.draw_native(*stack);
    std::string text;
    for (const Row& row : rows) text += fmt::format("{}{}\n{}\n", row.drawing, row.text, row.position);
    const auto [entry, is_new] = known.try_emplace(std::move(text), report.threads.size());
    if (is_new) report.threads.emplace_back().group.rows = std::move(rows);
    report.threads[entry->second].threads.push_back(&thread);
  }
  // Whatever one thread alone does says most.
  std::ranges::stable_sort(report.threads, {}, [](const ThreadGroup& group) { return group.threads.size(); });
}

}  // namespace asynctrace
