#include "cli/render/jsonl.hpp"

#include <cstdint>
#include <string_view>
#include <vector>

#include "cli/render/json_items.hpp"

namespace asynctrace {
namespace {

class Lines {
 public:
  Lines(const Report& report, std::ostream& out)
      : report_(report),
        items_(report),
        out_(out),
        frame_written_(report.frames.size()),
        stack_written_(report.stacks.size()) {}

  void header(const JsonOptions& options) {
    char before = '{';
    for (const auto& [key, value] : items_.head(options)) {
      out_ << before << '"' << key << "\":" << value;
      before = ',';
    }
    list("runtimes", report_.runtimes, [&](const auto& known) { return items_.runtime(known); });
    list("diagnostics", report_.diagnostics, [&](const auto& known) { return items_.diagnostic(known); });
    list("threads", items_.threads(), [&](const Thread* known) { return items_.thread(*known); });
    list("modules", report_.snapshot->modules, [&](const auto& known) { return items_.module(known); });
    out_ << ",\"lost\":" << items_.lost() << "}\n";
    for (const auto& of_thread : report_.thread_stacks) {
      if (of_thread) stack(*of_thread);
    }
  }

  void task(const ReportTask& task) {
    for (const ReportLeaf& leaf : task.leaves) {
      if (leaf.stack) stack(*leaf.stack);
    }
    if (task.spawn_stack) stack(*task.spawn_stack);
    if (task.causes) {
      for (const ReportCause& cause : report_.causes[*task.causes].links) {
        if (cause.stack) stack(*cause.stack);
      }
    }
    out_ << "{\"task\":" << items_.task(task) << "}\n";
  }

  // The stacks of groups and suspects are leaves of their tasks, so they are written by then.
  void group(const Group& group) { out_ << "{\"group\":" << items_.group(group) << "}\n"; }
  void suspect(const Suspect& suspect) { out_ << "{\"suspect\":" << items_.suspect(suspect) << "}\n"; }
  void end() { out_ << "{\"end\":true,\"tasks\":" << report_.tasks.size() << "}\n"; }

 private:
  template <typename Items, typename Make>
  void list(std::string_view key, const Items& items, Make make) {
    out_ << ",\"" << key << "\":[";
    std::string_view between;
    for (const auto& item : items) {
      out_ << between << make(item);
      between = ",";
    }
    out_ << ']';
  }

  void stack(uint32_t index) {
    if (stack_written_[index]) return;
    stack_written_[index] = true;
    const ReportStack& stack = report_.stacks[index];
    for (const uint32_t frame : stack.frames) {
      if (frame_written_[frame]) continue;
      frame_written_[frame] = true;
      out_ << "{\"index\":" << frame << ",\"frame\":" << items_.frame(report_.frames[frame]) << "}\n";
    }
    out_ << "{\"index\":" << index << ",\"stack\":" << items_.stack(stack) << "}\n";
  }

  const Report& report_;
  const JsonItems items_;
  std::ostream& out_;
  std::vector<bool> frame_written_, stack_written_;
};

}  // namespace

void render_jsonl(const Report& report, const JsonOptions& options, std::ostream& out) {
  Lines lines(report, out);
  lines.header(options);
  for (const ReportTask& task : report.tasks) lines.task(task);
  for (const Group& group : report.groups) lines.group(group);
  for (const Suspect& suspect : report.suspects) lines.suspect(suspect);
  lines.end();
}

}  // namespace asynctrace
