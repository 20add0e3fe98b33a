#include "cli/render/json.hpp"

#include <algorithm>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/render/escape.hpp"

namespace asynctrace {
namespace {

// Keys in the order of the contract.
using Json = nlohmann::ordered_json;

Json text(std::string_view value) {
  return escape(value);
}

Json text_or_null(std::string_view value) {
  return value.empty() ? Json(nullptr) : text(value);
}

constexpr std::string_view kNull = "null";

template <typename T>
std::string number_or_null(const std::optional<T>& value) {
  return value ? fmt::format("{}", *value) : std::string(kNull);
}

std::string hex(uint64_t value) {
  return fmt::format("0x{:x}", value);
}

// RFC 3339, null for 0.
Json time_or_null(int64_t realtime_ns) {
  if (realtime_ns <= 0) return nullptr;
  const auto seconds = static_cast<time_t>(realtime_ns / 1'000'000'000);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(seconds), realtime_ns / 1'000'000 % 1000);
}

std::string_view name(ProcessState state) {
  switch (state) {
    case ProcessState::kRunning: return "running";
    case ProcessState::kExited:
    // The image is gone; a diagnostic says by what.
    case ProcessState::kExeced: return "exited";
    case ProcessState::kKilled: return "killed";
    case ProcessState::kCrashed: return "crashed";
    case ProcessState::kUnknown: return "unknown";
  }
  return "unknown";
}

std::string_view name(ThreadState state) {
  constexpr std::string_view kNames[] = {"polling", "parked", "other"};
  return kNames[static_cast<size_t>(state)];
}

std::string_view name(ReportTaskKind kind) {
  constexpr std::string_view kNames[] = {"task", "block_on", "blocking", "worker"};
  return kNames[static_cast<size_t>(kind)];
}

std::string_view name(GroupClass group_class) {
  constexpr std::string_view kNames[] = {"inside", "outside", "running"};
  return kNames[static_cast<size_t>(group_class)];
}

std::string_view name(TaskState state) {
  switch (state) {
    case TaskState::kRunning: return "running";
    case TaskState::kScheduled: return "scheduled";
    default: return "waiting";
  }
}

std::string kind_members(const LeafKind& kind) {
  return fmt::format(R"("kind":{},"class":"{}")", text(kind.text).dump(), asynctrace::name(kind.leaf_class));
}

class JsonRenderer {
 public:
  JsonRenderer(const Report& report, const JsonOptions& options, std::ostream& out);
  void render();

 private:
  void member(std::string_view key, const Json& value);
  template <typename Items, typename Make>
  void array(std::string_view key, const Items& items, Make make);

  Json process() const;
  Json frame(const ReportFrame& frame) const;
  std::string task(const ReportTask& task) const;

  const Report& report_;
  const Snapshot& snapshot_;
  const JsonOptions& options_;
  std::ostream& out_;
  bool first_ = true;

  // Text that many tasks share, already JSON: a document of objects for 100,000 tasks takes a second to
  // build.
  std::vector<std::string> types_, kinds_, reasons_;
  const std::string unknown_kind_ = kind_members({});
};

JsonRenderer::JsonRenderer(const Report& report, const JsonOptions& options, std::ostream& out)
    : report_(report), snapshot_(*report.snapshot), options_(options), out_(out) {
  for (const std::string& type : report.types) types_.push_back(text(type).dump());
  for (const ReportStack& stack : report.stacks) kinds_.push_back(kind_members(stack.kind));
  for (int i = 0; i <= static_cast<int>(LeafReason::kChildrenShown); ++i) {
    reasons_.push_back(text_or_null(describe(static_cast<LeafReason>(i))).dump());
  }
}

void JsonRenderer::member(std::string_view key, const Json& value) {
  out_ << (first_ ? "{" : ",\n ") << Json(key) << ':' << value;
  first_ = false;
}

// One item a line: no document is ever held, and the file can be read by eye.
template <typename Items, typename Make>
void JsonRenderer::array(std::string_view key, const Items& items, Make make) {
  out_ << (first_ ? "{" : ",\n ") << Json(key) << ":[";
  first_ = false;
  std::string_view between = "\n  ";
  for (const auto& item : items) {
    out_ << between << make(item);
    between = ",\n  ";
  }
  out_ << ']';
}

Json JsonRenderer::process() const {
  Json cmdline = Json::array();
  for (const std::string& argument : snapshot_.process.cmdline) cmdline.push_back(text(argument));
  return {{"pid", snapshot_.process.pid},
          {"exe", text(snapshot_.process.exe)},
          {"cmdline", cmdline},
          {"start_time", time_or_null(snapshot_.process.start_realtime_ns)},
          {"state", name(snapshot_.process.state)}};
}

Json JsonRenderer::frame(const ReportFrame& frame) const {
  const Frame& source = report_.symbols->frames()[frame.source];
  const bool in_module = source.module && *source.module < snapshot_.modules.size();
  return {{"function", text(frame.name)},
          {"raw", text(source.raw)},
          {"file", text_or_null(source.file)},
          {"line", source.line != 0 ? Json(source.line) : Json(nullptr)},
          {"column", source.column != 0 ? Json(source.column) : Json(nullptr)},
          {"module", in_module ? text(snapshot_.modules[*source.module].path) : Json(nullptr)},
          {"offset", hex(source.offset)},
          {"inlined", source.inlined},
          {"class", asynctrace::name(frame.frame_class)}};
}

std::string JsonRenderer::task(const ReportTask& task) const {
  const Task& source = *task.task;
  std::string line = fmt::format(
      R"({{"id":{},"native_id":null,"runtime":"{}","address":"0x{:x}","kind":"{}","type":{},"name":null,)"
      R"("state":"{}","observed":true,"stuck":{},"created_ns":{},"in_state_ns":{},"polls":{},"wakes":{},)"
      R"("busy_ns":{},"max_poll_ns":{},"last_poll_tid":{},"running_stack":null,"leaves":[)",
      source.id, asynctrace::name(source.runtime), source.address, name(task.kind),
      task.type ? std::string_view(types_[*task.type]) : kNull, name(source.state), source.stuck,
      source.created_ns, source.in_state_ns, source.polls, source.wakes, source.busy_ns, source.max_poll_ns,
      number_or_null(source.last_poll_tid));
  for (const ReportLeaf& leaf : task.leaves) {
    if (line.back() == '}') line += ',';
    fmt::format_to(
        std::back_inserter(line),
        R"({{{},"waiting_ns":{},"waits_for":{},"resource":null,"confirmed":{},"stack":{},"reason":{}}})",
        leaf.stack ? kinds_[*leaf.stack] : unknown_kind_, leaf.waiting_ns,
        leaf.waits_for_task ? fmt::format(R"({{"task":{}}})", *leaf.waits_for_task) : std::string(kNull),
        leaf.confirmed, number_or_null(leaf.stack), reasons_[static_cast<size_t>(leaf.reason)]);
  }
  return line + "]}";
}

void JsonRenderer::render() {
  member("schema", "asynctrace.dump/1");
  member("tool", {{"name", "asynctrace"}, {"version", options_.tool_version}});
  member("captured_at", time_or_null(snapshot_.captured_realtime_ns));
  member("capture_ms", (snapshot_.capture_ns + 999'999) / 1'000'000);
  member("reason", options_.reason);
  member("source", "agent");
  member("durations_at_least", snapshot_.durations_at_least);
  member("process", process());
  array("runtimes", report_.runtimes, [](const ReportRuntime& runtime) -> Json {
    return {{"name", asynctrace::name(runtime.id)},
            {"version", text_or_null(runtime.version)},
            {"tasks", runtime.tasks},
            {"workers", runtime.workers.total}};
  });
  array("groups", report_.groups, [](const Group& group) -> Json {
    return {{"tasks", group.tasks},
            {"count", group.tasks.size()},
            {"class", name(group.group_class)},
            {"min_ns", group.waiting.min_ns},
            {"median_ns", group.waiting.median_ns},
            {"max_ns", group.waiting.max_ns},
            {"stacks", group.stacks}};
  });
  array("suspects", report_.suspects, [](const Suspect& suspect) -> Json {
    return {{"kind", suspect.kind}, {"evidence", suspect.evidence}, {"tasks", suspect.group.tasks}};
  });
  array("diagnostics", report_.diagnostics, [](const Diagnostic& diagnostic) -> Json {
    return {{"code", diagnostic.code},
            {"message", text(diagnostic.message)},
            {"remedy", text_or_null(diagnostic.remedy)}};
  });
  array("stacks", report_.stacks, [](const ReportStack& stack) -> Json { return stack.frames; });
  array("frames", report_.frames, [&](const ReportFrame& known) { return frame(known); });
  std::vector<const Thread*> threads;
  for (const Thread& thread : snapshot_.threads) threads.push_back(&thread);
  std::sort(threads.begin(), threads.end(), [](const Thread* a, const Thread* b) { return a->tid < b->tid; });
  array("threads", threads, [](const Thread* thread) -> Json {
    return {{"tid", thread->tid},
            {"name", text(thread->name)},
            {"state", name(thread->state)},
            {"task", thread->task ? Json(*thread->task) : Json(nullptr)}};
  });
  array("modules", snapshot_.modules, [](const Module& module) -> Json {
    std::string build_id;
    for (const uint8_t byte : module.build_id) build_id += fmt::format("{:02x}", byte);
    return {{"path", text(module.path)}, {"build_id", text_or_null(build_id)}, {"base", hex(module.bias)}};
  });
  member("lost", {{"leaves", snapshot_.lost.leaves},
                  {"tasks", snapshot_.lost.tasks},
                  {"stacks", snapshot_.lost.stacks}});
  array("tasks", report_.tasks, [&](const ReportTask& known) { return task(known); });
  out_ << "}\n";
}

}  // namespace

void render_json(const Report& report, const JsonOptions& options, std::ostream& out) {
  JsonRenderer(report, options, out).render();
}

}  // namespace asynctrace
