#include "cli/render/text.hpp"

#include <fmt/format.h>
#include <fmt/ostream.h>

#include "cli/render/escape.hpp"
#include "cli/render/phrases.hpp"
#include "cli/tree/findings.hpp"

namespace asynctrace {
namespace {

constexpr size_t kTerminalTraces = 20;

class TextRenderer {
 public:
  TextRenderer(const Report& report, const TextOptions& options, std::ostream& out)
      : report_(report), options_(options), out_(out), left_(limit()) {}

  void render() {
    out_ << headline(report_) << '\n';
    crash();
    suspects();
    if (options_.hung && report_.suspects.empty()) longest();
    section(GroupClass::kInside, "INSIDE");
    section(GroupClass::kOutside, "OUTSIDE");
    threads();
    notes();
  }

 private:
  size_t limit() const { return options_.terminal && !options_.all ? kTerminalTraces : SIZE_MAX; }

  std::string red(std::string text) const { return options_.colour ? styled(Style::kRed, text) : text; }

  // False once the terminal's share of traces is used up.
  bool take() {
    if (left_ == 0) return false;
    --left_;
    return true;
  }

  std::string ids(const Group& group) const;
  void rows(const Group& group, std::string_view indent) const {
    out_ << draw(group, report_, indent, options_.colour);
  }
  void crash();
  void suspects();
  void longest() const;
  void section(GroupClass group_class, std::string_view title);
  void threads();
  void notes() const;

  const Report& report_;
  const TextOptions& options_;
  std::ostream& out_;
  size_t left_;
};

std::string TextRenderer::ids(const Group& group) const {
  return fmt::format("({})", fmt::join(group.tasks, ", "));
}

void TextRenderer::crash() {
  if (!report_.crash) return;
  fmt::print(out_, "\n{}\n", red(crash_line(report_)));
  rows(report_.crash->group, "");
}

void TextRenderer::suspects() {
  if (report_.suspects.empty()) return;
  fmt::print(out_, "\n{}\n", red("SUSPECTS"));
  size_t number = 0;
  for (const Suspect& suspect : report_.suspects) {
    if (!take()) {
      fmt::print(out_, "... {} more; --all shows them\n",
                 counted(report_.suspects.size() - number, "suspect"));
      return;
    }
    const Group& group = suspect.group;
    const bool list = group.tasks.size() > 1 && (group.tasks.size() <= kListedIds || options_.all);
    const std::string prefix = fmt::format("{}. ", ++number);
    out_ << prefix;
    if (suspect.kind == "blocked_worker") {
      fmt::print(out_, "{}\n", red(escape(suspect.evidence)));
    } else if (suspect.kind == "deadlock") {
      const std::string since = waiting(group, report_);
      fmt::print(out_, "{}{}{}\n", red("deadlock, " + counted(group.tasks.size(), "task")),
                 since.empty() ? "" : ", ", since);
    } else {
      fmt::print(out_, "{}{}: {}{}\n", red(subject(group, report_)), list ? " " + ids(group) : "",
                 escape(suspect.evidence), spaced(waiting(group, report_)));
    }
    rows(group, std::string(prefix.size(), ' '));
  }
}

// Inside, the oldest; then block_on's own futures, which wait for all the others.
void TextRenderer::longest() const {
  constexpr size_t kInsideNamed = 3;
  std::string inside, own;
  size_t count = 0;
  for (const Finding& finding : find_findings(report_)) {
    if (finding.group->tasks.empty()) continue;  // a crash outside any task
    const ReportTask* task = find_task(report_, finding.group->tasks.front());
    const bool is_own = task != nullptr && task->kind == ReportTaskKind::kBlockOn;
    if (!is_own && (finding.group->group_class != GroupClass::kInside || ++count > kInsideNamed)) continue;
    const std::string position =
        finding.frame ? " at " + escape(report_.frames[*finding.frame].position) : "";
    std::string& list = is_own ? own : inside;
    list += fmt::format("{}{}, {}, {}{}", list.empty() ? "" : "; ", subject(*finding.group, report_),
                        waiting(*finding.group, report_), escape(finding.evidence), position);
  }
  if (inside.empty() && own.empty()) return;
  fmt::print(out_, "\nno suspects; waiting longest inside: {}{}{}\n", inside,
             inside.empty() || own.empty() ? "" : "; ", own);
}

void TextRenderer::section(GroupClass group_class, std::string_view title) {
  std::vector<const Group*> groups;
  size_t tasks = 0;
  for (const Group& group : report_.groups) {
    if (group.group_class != group_class) continue;
    groups.push_back(&group);
    tasks += group.tasks.size();
  }
  if (groups.empty()) return;
  fmt::print(out_, "\n{}  {}, {}\n", title, counted(tasks, "task"), counted(groups.size(), "trace"));
  for (size_t i = 0; i < groups.size(); ++i) {
    const Group& group = *groups[i];
    if (!take()) {
      fmt::print(out_, "... {} of {} more; --all shows them\n", counted(groups.size() - i, "trace"),
                 counted(tasks, "task"));
      return;
    }
    tasks -= group.tasks.size();
    const bool list = group.tasks.size() > 1 && (group.tasks.size() <= kListedIds || options_.all);
    fmt::print(out_, "{}{}{}\n", subject(group, report_), spaced(waiting(group, report_)),
               list ? "  " + ids(group) : "");
    rows(group, "");
  }
}

void TextRenderer::threads() {
  if (report_.threads.empty()) return;
  fmt::print(out_, "\nTHREADS  {}, {}\n", counted(report_.snapshot->threads.size(), "thread"),
             counted(report_.threads.size(), "stack"));
  for (const ThreadGroup& group : report_.threads) {
    if (!take()) {
      out_ << "... more; --all shows them\n";
      return;
    }
    std::vector<std::string> names;
    for (const Thread* thread : group.threads) names.push_back(thread_in_task(*thread, report_));
    fmt::print(out_, "{}\n", fmt::join(names, ", "));
    rows(group.group, "");
  }
  for (const Thread& thread : report_.snapshot->threads) {
    if (!thread.no_native_stack.empty())
      fmt::print(out_, "{}: {}\n", thread_in_task(thread, report_), thread.no_native_stack);
  }
}

void TextRenderer::notes() const {
  if (report_.folded_leaves == 0 && report_.diagnostics.empty()) return;
  out_ << '\n';
  if (report_.folded_leaves > 0) {
    fmt::print(out_, "note: {} of the runtime itself not shown; they are in the JSON\n",
               counted(report_.folded_leaves, "leaf record"));
  }
  for (const Diagnostic& diagnostic : report_.diagnostics) {
    fmt::print(out_, "note: {}\n", escape(diagnostic.message));
    if (!diagnostic.remedy.empty()) fmt::print(out_, "      {}\n", escape(diagnostic.remedy));
  }
}

}  // namespace

void render_text(const Report& report, const TextOptions& options, std::ostream& out) {
  TextRenderer(report, options, out).render();
}

}  // namespace asynctrace
