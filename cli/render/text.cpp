#include "cli/render/text.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ostream.h>

#include "cli/render/duration.hpp"
#include "cli/render/escape.hpp"

namespace asynctrace {
namespace {

constexpr size_t kTerminalTraces = 20;
constexpr size_t kListedIds = 10;              // a group of more tasks is summarized
constexpr uint64_t kLongPoll = 1'000'000'000;  // ns; shorter polls are not worth a number

constexpr std::string_view kRed = "31", kBold = "1", kDim = "2";

std::string with_commas(size_t number) {
  std::string digits = std::to_string(number);
  for (size_t at = digits.size(); at > 3;) digits.insert(at -= 3, ",");
  return digits;
}

std::string counted(size_t number, std::string_view what) {
  return fmt::format("{} {}{}", with_commas(number), what, number == 1 ? "" : "s");
}

std::string joined(const std::vector<std::string>& parts, std::string_view between = ", ") {
  return fmt::format("{}", fmt::join(parts, between));
}

std::string_view describe(ProcessState state) {
  switch (state) {
    case ProcessState::kRunning: return "";
    case ProcessState::kExited: return ", exited";
    case ProcessState::kKilled: return ", killed";
    case ProcessState::kCrashed: return ", crashed";
    case ProcessState::kExeced: return ", replaced by exec";
    case ProcessState::kUnknown: return ", state unknown";
  }
  return "";
}

class TextRenderer {
 public:
  TextRenderer(const Report& report, const TextOptions& options, std::ostream& out)
      : report_(report), options_(options), out_(out), left_(limit()) {}

  void render() {
    header();
    suspects();
    section(GroupClass::kInside, "INSIDE");
    section(GroupClass::kOutside, "OUTSIDE");
    notes();
  }

 private:
  size_t limit() const { return options_.terminal && !options_.all ? kTerminalTraces : SIZE_MAX; }

  std::string styled(std::string_view style, std::string text) const {
    return options_.colour ? fmt::format("\033[{}m{}\033[0m", style, text) : text;
  }

  std::string at_least(const std::string& duration) const {
    return report_.snapshot->durations_at_least ? "at least " + duration : duration;
  }

  // False once the terminal's share of traces is used up.
  bool take() {
    if (left_ == 0) return false;
    --left_;
    return true;
  }

  std::string workers(const ReportRuntime& runtime) const;
  std::string task_counts() const;
  void header() const;
  std::string ids(const Group& group) const;
  std::string subject(const Group& group) const;
  void rows(const Group& group, std::string_view indent) const;
  void suspects();
  void section(GroupClass group_class, std::string_view title);
  void notes() const;

  const Report& report_;
  const TextOptions& options_;
  std::ostream& out_;
  size_t left_;
};

std::string TextRenderer::workers(const ReportRuntime& runtime) const {
  const WorkerCounts& counts = runtime.workers;
  std::string text(name(runtime.id));
  if (counts.total == 0) return text;
  const auto is_long = [](uint64_t ns) { return ns >= kLongPoll; };
  const auto in_long_poll =
      static_cast<size_t>(std::count_if(counts.polling_ns.begin(), counts.polling_ns.end(), is_long));
  const size_t in_short_poll = counts.polling_ns.size() - in_long_poll;
  std::vector<std::string> parts;
  if (counts.parked > 0) parts.push_back(fmt::format("{} parked", counts.parked));
  if (in_long_poll > 0) {
    parts.push_back(fmt::format("{} in one poll for {}{}", in_long_poll, in_long_poll > 1 ? "up to " : "",
                                format_duration(counts.polling_ns.front())));
  }
  if (in_short_poll > 0) parts.push_back(fmt::format("{} polling", in_short_poll));
  const size_t rest = counts.total - counts.parked - counts.polling_ns.size();
  if (rest > 0) parts.push_back(fmt::format("{} idle", rest));
  return fmt::format("{}, {}: {}", text, counted(counts.total, "worker"), joined(parts));
}

std::string TextRenderer::task_counts() const {
  const TaskCounts& counts = report_.counts;
  std::vector<std::string> parts;
  const auto add = [&](size_t number, std::string_view what) {
    if (number > 0) parts.push_back(fmt::format("{} {}", with_commas(number), what));
  };
  add(counts.inside, "inside");
  add(counts.outside, "outside");
  add(counts.running, "running");
  add(counts.scheduled, "scheduled");
  return counts.total == 0 ? "no tasks" : fmt::format("{}: {}", counted(counts.total, "task"), joined(parts));
}

void TextRenderer::header() const {
  const Snapshot& snapshot = *report_.snapshot;
  const std::string& exe = snapshot.process.exe;
  std::vector<std::string> runtimes;
  for (const ReportRuntime& runtime : report_.runtimes) runtimes.push_back(workers(runtime));
  fmt::print(out_, "{} pid {}{}  {}   {}   read in {} ms\n", escape(exe.substr(exe.rfind('/') + 1)),
             snapshot.process.pid, describe(snapshot.process.state),
             runtimes.empty() ? "no runtime" : joined(runtimes, "; "), task_counts(),
             (snapshot.capture_ns + 999'999) / 1'000'000);
}

std::string TextRenderer::ids(const Group& group) const {
  return fmt::format("({})", fmt::join(group.tasks, ", "));
}

// "task 3", "block_on, thread 42 (task 3)", "3 tasks".
std::string TextRenderer::subject(const Group& group) const {
  if (group.tasks.size() > 1) return counted(group.tasks.size(), "task");
  const uint64_t id = group.tasks.front();
  const auto task =
      std::lower_bound(report_.tasks.begin(), report_.tasks.end(), id,
                       [](const ReportTask& known, uint64_t wanted) { return known.task->id < wanted; });
  if (task != report_.tasks.end() && task->kind == ReportTaskKind::kBlockOn) {
    return fmt::format("block_on, thread {} (task {})", task->task->address, id);
  }
  return fmt::format("task {}", id);
}

void TextRenderer::rows(const Group& group, std::string_view indent) const {
  for (const Row& row : group.rows) {
    std::string text = escape(row.text);
    if (row.per_task > 1) text = fmt::format("{} x {}", with_commas(row.per_task), text);
    fmt::print(out_, "{}{}{}", indent, row.drawing, row.is_user ? styled(kBold, std::move(text)) : text);
    if (!row.position.empty()) fmt::print(out_, "{}", styled(kDim, " at " + escape(row.position)));
    // With one leaf the first line has its duration already.
    if (row.is_leaf && group.leaf_rows > 1) {
      const bool summary = group.tasks.size() * row.per_task > kListedIds;
      fmt::print(out_, "  {}", at_least(format_spread(row.waiting, summary)));
    }
    out_ << '\n';
  }
}

void TextRenderer::suspects() {
  if (report_.suspects.empty()) return;
  fmt::print(out_, "\n{}\n", styled(kRed, "SUSPECTS"));
  size_t number = 0;
  for (const Suspect& suspect : report_.suspects) {
    if (!take()) {
      fmt::print(out_, "... {} more; --all shows them\n",
                 counted(report_.suspects.size() - number, "suspect"));
      return;
    }
    const Group& group = suspect.group;
    const bool summary = group.tasks.size() > kListedIds;
    const bool list = group.tasks.size() > 1 && (!summary || options_.all);
    const std::string prefix = fmt::format("{}. ", ++number);
    fmt::print(out_, "{}{}{}: {}  {}\n", prefix, styled(kRed, subject(group)), list ? " " + ids(group) : "",
               suspect.evidence, at_least(format_spread(group.waiting, summary)));
    rows(group, std::string(prefix.size(), ' '));
  }
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
    const bool summary = group.tasks.size() > kListedIds;
    const bool list = group.tasks.size() > 1 && (!summary || options_.all);
    fmt::print(out_, "{}  {}{}\n", subject(group), at_least(format_spread(group.waiting, summary)),
               list ? "  " + ids(group) : "");
    rows(group, "");
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
