#include "cli/render/markdown.hpp"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>

#include "cli/render/escape.hpp"
#include "cli/render/phrases.hpp"

namespace asynctrace {
namespace {

constexpr size_t kTableRows = 50;
// Room for the lines around the table and the text, and for what says that something was left out.
constexpr size_t kReserve = 2000;

bool is_word(std::string_view text, size_t at) {
  return at < text.size() && std::isalnum(static_cast<unsigned char>(text[at])) != 0;
}

// Character references: unlike backslashes they mean the same in tables, in code and in plain text.
std::string references(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool inside_word = c == '_' && i > 0 && is_word(text, i - 1) && is_word(text, i + 1);
    if (!inside_word && std::string_view("&<>|`*_[]\\~@$#!").find(c) != std::string_view::npos) {
      result += fmt::format("&#{};", static_cast<int>(c));
    } else {
      result += c;
    }
  }
  return result;
}

size_t longest_run(std::string_view text, char wanted) {
  size_t longest = 0, run = 0;
  for (const char c : text) {
    run = c == wanted ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  return longest;
}

std::string table_row(const MergedFinding& merged) {
  const Group& group = *merged.finding.group;
  const Report& report = *merged.report;
  if (merged.finding.kind == "crash") {
    return fmt::format("| **crash** | {} | | {} | {} |\n", references(subject(group, report)),
                       references(crash_line(report)), markdown_code(where(merged.finding, report)));
  }
  std::string who = merged.processes > 1
                        ? fmt::format("{} in {} processes", counted(merged.tasks, "task"), merged.processes)
                        : subject(group, report);
  return fmt::format("| {} | {} | {} | {} | {} |\n", merged.finding.is_suspect ? "**suspect**" : "waiting",
                     references(who), waiting(group, report), references(escape(merged.finding.evidence)),
                     markdown_code(where(merged.finding, report)));
}

}  // namespace

std::string markdown_code(std::string_view text) {
  return text.empty() ? "" : fmt::format("<code>{}</code>", references(text));
}

void render_markdown(const RunReport& run, std::ostream& out, size_t limit) {
  const size_t budget = limit > kReserve ? limit - kReserve : 0;
  std::string page = fmt::format("## asynctrace: {} {}\n\n", markdown_code(run.command.substr(0, 500)),
                                 references(run.outcome));
  if (!run.remark.empty()) page += references(escape(run.remark)) + "\n";
  const std::vector<MergedFinding> findings = merge_findings(run);
  if (!findings.empty()) page += "| | tasks | for | what | where |\n|---|---|---|---|---|\n";
  size_t shown = 0;
  for (const MergedFinding& merged : findings) {
    const std::string row = table_row(merged);
    if (shown == kTableRows || page.size() + row.size() > budget) break;
    page += row;
    ++shown;
  }
  if (shown < findings.size())
    page += fmt::format("\n{} more below.\n", counted(findings.size() - shown, "finding"));
  if (!run.processes.empty() && page.size() < budget) {
    const std::string text = render_processes(run, budget - page.size());
    const std::string fence(std::max<size_t>(3, longest_run(text, '`') + 1), '`');
    if (page.size() + text.size() + 2 * fence.size() <= limit)
      page += fmt::format("\n<details open><summary>Every trace</summary>\n\n{}text\n{}{}\n\n</details>\n",
                          fence, text, fence);
  }
  if (page.size() <= limit) out << page;
}

}  // namespace asynctrace
