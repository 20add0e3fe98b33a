#include "cli/diff/render.hpp"

#include <string_view>

#include <fmt/format.h>
#include <fmt/ostream.h>
#include <nlohmann/json.hpp>

#include "cli/render/duration.hpp"
#include "cli/render/escape.hpp"
#include "cli/render/phrases.hpp"

namespace asynctrace {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kMillisecond = 1'000'000;

std::string ids(const std::vector<uint64_t>& tasks) {
  return tasks.size() > 1 && tasks.size() <= kListedIds ? fmt::format("  ({})", fmt::join(tasks, ", ")) : "";
}

std::string subject(const std::vector<uint64_t>& tasks) {
  return tasks.size() == 1 ? fmt::format("task {}", tasks.front()) : counted(tasks.size(), "task");
}

std::string headline(const DumpTraces& dump) {
  const bool lives = dump.state == "running";
  const std::string& shown_at = lives ? dump.captured_at : dump.ended_at;
  return fmt::format("{} pid {}{} at {}   {}", dump.exe.substr(dump.exe.rfind('/') + 1), dump.pid,
                     lives ? "" : ", " + (dump.state == "unknown" ? "ended" : dump.state),
                     shown_at.empty() ? "an unknown time" : shown_at, counted(dump.task_count, "task"));
}

std::string in_between(const Diff& diff) {
  return diff.between_ms ? " in " + format_duration(*diff.between_ms * kMillisecond) : "";
}

std::string counts(const DiffTrace& trace, const Diff& diff) {
  if (trace.after.empty()) return subject(trace.before) + ids(trace.before);
  std::string text = subject(trace.after);
  if (!trace.before.empty() && trace.before.size() != trace.after.size())
    text += fmt::format(", {} before", with_commas(trace.before.size()));
  if (!trace.unmoved.empty()) {
    const std::string share =
        trace.unmoved.size() == trace.after.size() ? "" : with_commas(trace.unmoved.size()) + " ";
    text += fmt::format("  {}not moved{}", share, in_between(diff));
  }
  return text + ids(trace.after);
}

void section(std::string_view title, const std::vector<DiffTrace>& traces, const Diff& diff,
             std::ostream& out) {
  if (traces.empty()) return;
  size_t tasks = 0;
  for (const DiffTrace& trace : traces)
    tasks += trace.after.empty() ? trace.before.size() : trace.after.size();
  fmt::print(out, "\n{}  {}, {}\n", title, counted(tasks, "task"), counted(traces.size(), "trace"));
  for (const DiffTrace& trace : traces) {
    fmt::print(out, "{}\n", counts(trace, diff));
    for (const std::string& line : trace.lines) fmt::print(out, "{}\n", line);
  }
}

Json side(const DiffInput& input) {
  const auto or_null = [](const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); };
  return {{"name", escape(input.name)},
          {"exe", input.dump.exe},
          {"pid", input.dump.pid},
          {"start_time", or_null(input.dump.start_time)},
          {"captured_at", or_null(input.dump.captured_at)},
          {"ended_at", or_null(input.dump.ended_at)},
          {"state", input.dump.state},
          {"tasks", input.dump.task_count}};
}

void list(std::string_view key, const std::vector<DiffTrace>& traces, const Diff& diff, std::ostream& out) {
  fmt::print(out, ",\n \"{}\":[", key);
  std::string_view between = "\n  ";
  for (const DiffTrace& trace : traces) {
    const Json item = {{"trace", trace.lines},
                       {"before", trace.before},
                       {"after", trace.after},
                       {"unmoved", diff.same_process ? Json(trace.unmoved) : Json(nullptr)}};
    out << between << item.dump();
    between = ",\n  ";
  }
  out << ']';
}

}  // namespace

void render_diff(const DiffInput& before, const DiffInput& after, std::ostream& out) {
  const Diff diff = compare(before.dump, after.dump);
  fmt::print(out, "A  {}\nB  {}{}\n", headline(before.dump), headline(after.dump),
             diff.same_process ? "" : "   another process: tasks are not compared, only traces");
  section("NEW", diff.added, diff, out);
  section("GONE", diff.gone, diff, out);
  section("IN BOTH", diff.both, diff, out);
}

void render_diff_json(const DiffInput& before, const DiffInput& after, const std::string& tool_version,
                      std::ostream& out) {
  const Diff diff = compare(before.dump, after.dump);
  const Json tool = {{"name", "asynctrace"}, {"version", tool_version}};
  fmt::print(out, "{{\"schema\":\"asynctrace.diff/1\",\n \"tool\":{},\n \"a\":{},\n \"b\":{},\n", tool.dump(),
             side(before).dump(), side(after).dump());
  fmt::print(out, " \"same_process\":{},\n \"between_ns\":{}", diff.same_process,
             diff.between_ms ? std::to_string(*diff.between_ms * kMillisecond) : "null");
  list("new", diff.added, diff, out);
  list("gone", diff.gone, diff, out);
  list("both", diff.both, diff, out);
  out << "}\n";
}

}  // namespace asynctrace
