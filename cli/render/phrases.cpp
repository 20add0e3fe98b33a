#include "cli/render/phrases.hpp"

#include <string.h>

#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "cli/render/duration.hpp"
#include "cli/render/escape.hpp"
#include "cli/tree/findings.hpp"

namespace asynctrace {
namespace {

constexpr uint64_t kLongPoll = 1'000'000'000;  // ns; shorter polls are not worth a number

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

std::string workers(const ReportRuntime& runtime, DumpSource source) {
  const WorkerCounts& counts = runtime.workers;
  std::string text = escape(runtime.name);
  if (counts.total == 0) return text;
  if (source == DumpSource::kCensus) return fmt::format("{}, {}", text, counted(counts.total, "worker"));
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

std::string task_counts(const TaskCounts& counts) {
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

// Whom a crash in an unknown thread can have struck.
std::string polling_then(const Report& report) {
  std::vector<std::string> polls;
  for (const Thread& thread : report.snapshot->threads) {
    const ReportTask* task = thread.task ? find_task(report, *thread.task) : nullptr;
    if (task == nullptr || task->kind == ReportTaskKind::kWorker) continue;
    polls.push_back(fmt::format("task {} on thread tid {} for {}", task->task->id, thread.tid,
                                format_duration(thread.in_state_ns)));
  }
  return polls.empty() ? "none was polling a task" : "polling then: " + joined(polls);
}

std::string at_least(const Report& report, const std::string& duration) {
  return report.snapshot->durations_at_least && !duration.empty() ? "at least " + duration : duration;
}

}  // namespace

std::string with_commas(size_t number) {
  std::string digits = std::to_string(number);
  for (size_t at = digits.size(); at > 3;) digits.insert(at -= 3, ",");
  return digits;
}

std::string counted(size_t number, std::string_view what) {
  return fmt::format("{} {}{}", with_commas(number), what, number == 1 ? "" : "s");
}

std::string program_name(const Report& report) {
  const std::string& exe = report.snapshot->process.exe;
  return escape(exe.substr(exe.rfind('/') + 1));
}

std::string headline(const Report& report) {
  const Snapshot& snapshot = *report.snapshot;
  std::vector<std::string> runtimes;
  for (const ReportRuntime& runtime : report.runtimes) runtimes.push_back(workers(runtime, snapshot.source));
  return fmt::format("{} pid {}{}  {}   {}   {}read in {} ms", program_name(report), snapshot.process.pid,
                     describe(snapshot.process.state),
                     runtimes.empty() ? "no runtime" : joined(runtimes, "; "), task_counts(report.counts),
                     snapshot.source == DumpSource::kCensus ? "census, without the agent   " : "",
                     (snapshot.capture_ns + 999'999) / 1'000'000);
}

std::string signal_name(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", signal);
}

std::string crash_line(const Report& report) {
  const Crash& crash = *report.snapshot->crash;
  std::string line = "crashed: " + signal_name(crash.signal);
  if (!crash.tid) return line + " in an unknown thread; " + polling_then(report);
  const ReportTask* task = crash.task ? find_task(report, *crash.task) : nullptr;
  if (!crash.task || (task != nullptr && task->kind == ReportTaskKind::kWorker))
    return line + fmt::format(" in no task, on {}thread tid {}", crash.task ? "worker " : "", *crash.tid);
  line += fmt::format(" in task {} on thread tid {}", *crash.task, *crash.tid);
  if (report.snapshot->source == DumpSource::kCensus) return line;
  return line + fmt::format(" (in one poll for {})", format_duration(crash.in_poll_ns));
}

std::string subject(const Group& group, const Report& report) {
  const std::string name = escape(thread_name(group, report));
  const std::string on_thread = name.empty() ? "" : " on thread " + name;
  if (group.tasks.empty()) return "no task";
  if (group.tasks.size() > 1) return counted(group.tasks.size(), "task") + on_thread;
  const uint64_t id = group.tasks.front();
  const ReportTask* task = find_task(report, id);
  if (task != nullptr && task->kind == ReportTaskKind::kBlockOn)
    return fmt::format("block_on, thread {}{}{} (task {})", task->task->address, name.empty() ? "" : " ",
                       name, id);
  const bool named = task != nullptr && task->task->native && !task->task->native->name.empty();
  return fmt::format("task {}{}{}", id, named ? fmt::format(" \"{}\"", escape(task->task->native->name)) : "",
                     on_thread);
}

std::string spaced(const std::string& text) {
  return text.empty() ? text : "  " + text;
}

std::string thread_in_task(const Thread& thread, const Report& report) {
  const ReportTask* task = thread.task ? find_task(report, *thread.task) : nullptr;
  const bool is_shown = task != nullptr && task->kind != ReportTaskKind::kWorker;
  return fmt::format("thread tid {}{}", thread.tid,
                     is_shown ? fmt::format(" in task {}", task->task->id) : "");
}

std::string waiting(const Group& group, const Report& report) {
  std::string text = at_least(report, format_spread(group.waiting, group.tasks.size() > kListedIds));
  if (!report.since_earlier_ns || group.unmoved == 0) return text;
  if (group.unmoved < group.tasks.size())
    text += fmt::format(", {} of {}", with_commas(group.unmoved), with_commas(group.tasks.size()));
  else text += ",";
  return text + fmt::format(" not moved in {}", format_duration(*report.since_earlier_ns));
}

std::string draw(const Group& group, const Report& report, std::string_view indent, bool colour) {
  std::string drawn;
  for (const Row& row : group.rows) {
    std::string text = escape(row.text);
    if (row.per_task > 1) text = fmt::format("{} x {}", with_commas(row.per_task), text);
    if (row.is_user && colour) text = styled(Style::kBold, text);
    std::string position = row.position.empty() ? "" : " at " + escape(row.position);
    if (!position.empty() && colour) position = styled(Style::kDim, position);
    fmt::format_to(std::back_inserter(drawn), "{}{}{}{}", indent, row.drawing, text, position);
    if (row.resources.size() <= kNamedResources) drawn += spaced(escape(joined(row.resources, "; ")));
    // With one leaf the line above the trace has its duration already.
    if (row.is_leaf && group.leaf_rows > 1) {
      const bool summary = group.tasks.size() * row.per_task > kListedIds;
      drawn += spaced(at_least(report, format_spread(row.waiting, summary)));
    }
    drawn += '\n';
  }
  return drawn;
}

std::string styled(Style style, std::string_view text) {
  constexpr int kCodes[] = {31, 1, 2};
  return fmt::format("\033[{}m{}\033[0m", kCodes[static_cast<size_t>(style)], text);
}

}  // namespace asynctrace
