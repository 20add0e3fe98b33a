#include "cli/render/run_report.hpp"

#include <algorithm>
#include <sstream>
#include <unordered_map>

#include <fmt/format.h>

#include "cli/render/escape.hpp"
#include "cli/render/phrases.hpp"
#include "cli/render/text.hpp"

namespace asynctrace {
namespace {

// What two findings must share to be the same one: all that is shown but numbers and durations.
std::string merge_key(const Finding& finding, const Report& report) {
  std::string key = fmt::format("{}\n{}\n", finding.kind, program_name(report));
  for (const Row& row : finding.group->rows)
    key += fmt::format("{} {} {}\n", row.depth, row.text, row.position);
  return key;
}

}  // namespace

std::vector<MergedFinding> merge_findings(const RunReport& run) {
  std::vector<MergedFinding> merged;
  std::unordered_map<std::string, size_t> known;
  for (const Report* report : run.processes) {
    for (const Finding& finding : find_findings(*report)) {
      const auto [entry, is_new] = known.try_emplace(merge_key(finding, *report), merged.size());
      if (is_new) merged.push_back({finding, report, 0, 0});
      merged[entry->second].tasks += finding.group->tasks.size();
      ++merged[entry->second].processes;
    }
  }
  std::stable_partition(merged.begin(), merged.end(),
                        [](const MergedFinding& one) { return one.finding.is_suspect; });
  return merged;
}

SourceLine source_line(const Finding& finding, const Report& report) {
  if (!finding.frame) return {};
  const ReportFrame& frame = report.frames[*finding.frame];
  const Frame& source = report.symbols->frames()[frame.source];
  return {std::string(path_in(report.source_root, frame.file)), source.line, source.column};
}

std::string where(const Finding& finding, const Report& report) {
  if (finding.frame) {
    const ReportFrame& frame = report.frames[*finding.frame];
    return escape(fmt::format("{} at {}", frame.name, frame.position));
  }
  return escape(finding.group->rows.empty() ? finding.evidence : finding.group->rows.front().text);
}

std::string sentence(const MergedFinding& merged) {
  const Group& group = *merged.finding.group;
  if (merged.finding.kind == "crash") return program_name(*merged.report) + " " + crash_line(*merged.report);
  std::string who = merged.processes > 1 ? counted(merged.tasks, "task") : subject(group, *merged.report);
  who += " of " + (merged.processes > 1 ? fmt::format("{} processes of ", merged.processes) : std::string()) +
         program_name(*merged.report);
  return fmt::format("{}: {}, {}", who, escape(merged.finding.evidence), waiting(group, *merged.report));
}

std::string render_processes(const RunReport& run, size_t limit) {
  std::ostringstream out;
  for (const Report* report : run.processes) {
    if (report != run.processes.front()) out << '\n';
    render_text(*report, {.hung = run.stopped && !report->crash}, out);
  }
  std::string text = std::move(out).str();
  if (text.size() <= limit) return text;
  constexpr std::string_view kCut = "... cut for lack of room\n";
  text.resize(limit < kCut.size() ? 0 : limit - kCut.size());
  text.resize(text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1);
  return limit < kCut.size() ? text : text + std::string(kCut);
}

}  // namespace asynctrace
