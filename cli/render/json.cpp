#include "cli/render/json.hpp"

#include <string_view>

#include "cli/render/json_items.hpp"

namespace asynctrace {
namespace {

class Document {
 public:
  explicit Document(std::ostream& out) : out_(out) {}

  void member(std::string_view key, std::string_view value) {
    begin(key);
    out_ << value;
  }

  // One item a line: no document is ever held, and the file can be read by eye.
  template <typename Items, typename Make>
  void array(std::string_view key, const Items& items, Make make) {
    begin(key);
    out_ << '[';
    std::string_view between = "\n  ";
    for (const auto& item : items) {
      out_ << between << make(item);
      between = ",\n  ";
    }
    out_ << ']';
  }

  void end() { out_ << "}\n"; }

 private:
  void begin(std::string_view key) {
    out_ << (first_ ? "{" : ",\n ") << '"' << key << "\":";
    first_ = false;
  }

  std::ostream& out_;
  bool first_ = true;
};

}  // namespace

void render_json(const Report& report, const JsonOptions& options, std::ostream& out) {
  const JsonItems items(report);
  Document document(out);
  for (const auto& [key, value] : items.head(options)) document.member(key, value);
  document.array("runtimes", report.runtimes, [&](const auto& known) { return items.runtime(known); });
  document.array("groups", report.groups, [&](const auto& known) { return items.group(known); });
  document.array("suspects", report.suspects, [&](const auto& known) { return items.suspect(known); });
  document.array("diagnostics", report.diagnostics,
                 [&](const auto& known) { return items.diagnostic(known); });
  document.array("stacks", report.stacks, [&](const auto& known) { return items.stack(known); });
  document.array("frames", report.frames, [&](const auto& known) { return items.frame(known); });
  document.array("threads", items.threads(), [&](const Thread* known) { return items.thread(*known); });
  document.array("modules", report.snapshot->modules, [&](const auto& known) { return items.module(known); });
  document.member("lost", items.lost());
  document.array("tasks", report.tasks, [&](const auto& known) { return items.task(known); });
  document.end();
}

}  // namespace asynctrace
