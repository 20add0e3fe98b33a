#include "cli/render/json_items.hpp"

#include <algorithm>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/render/escape.hpp"
#include "cli/render/phrases.hpp"
#include "cli/tree/resources.hpp"

namespace asynctrace {
namespace {

// Keys in the order of the contract.
using Json = nlohmann::ordered_json;

// Where the argument is a list in braces: a call that spells Json's constructor may mean a list of one.
std::string written(const Json& value) {
  return value.dump();
}

Json text(std::string_view value) {
  return escape(value);
}

Json text_or_null(std::string_view value) {
  return value.empty() ? Json(nullptr) : text(value);
}

constexpr std::string_view kNull = "null";

// Of a std::optional or a Maybe.
template <typename Optional>
std::string number_or_null(const Optional& value) {
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

std::string_view name(CauseState state) {
  constexpr std::string_view kNames[] = {"known", "gone", "armed_again", "unknown"};
  return kNames[static_cast<size_t>(state)];
}

std::string_view name(TaskState state) {
  switch (state) {
    case TaskState::kRunning: return "running";
    case TaskState::kScheduled: return "scheduled";
    default: return "waiting";
  }
}

std::string_view source(const Report& report) {
  if (report.snapshot->source == DumpSource::kCensus) return "census";
  const bool any_from_debug_info = std::ranges::any_of(report.tasks, [](const ReportTask& task) {
    return std::ranges::any_of(
        task.leaves, [](const ReportLeaf& leaf) { return leaf.reason == LeafReason::kFromDebugInfo; });
  });
  return report.snapshot->source == DumpSource::kBoth || any_from_debug_info ? "both" : "agent";
}

std::string kind_members(const LeafKind& kind) {
  return fmt::format(R"("kind":{},"class":"{}")", text(kind.text).dump(), asynctrace::name(kind.leaf_class));
}

std::string repoll(const Repoll& repoll) {
  return written({{"tasks", repoll.tasks},
                  {"runtimes", repoll.runtimes},
                  {"silent_runtimes", repoll.silent_runtimes},
                  {"workers", repoll.workers},
                  {"missing_workers", repoll.missing_workers}});
}

// Only tasks of the native API have them.
std::string native_members(const ReportTask& task) {
  if (!task.task->native) return {};
  const uint64_t waker = task.task->native->woken_by;
  return fmt::format(R"(,"spawn_stack":{},"woken_by":{})", number_or_null(task.spawn_stack),
                     waker != 0 ? fmt::format(R"({{"task":{}}})", waker) : std::string(kNull));
}

std::string_view name(CoroutineState state) {
  constexpr std::string_view kNames[] = {"suspended", "not_started", "ended", "running",
                                         "suspended_or_running"};
  return kNames[static_cast<size_t>(state)];
}

std::string_view name(CoroutineLink link) {
  constexpr std::string_view kNames[] = {"", "asio", "folly", "promise_type", "call_graph"};
  return kNames[static_cast<size_t>(link)];
}

// Only tasks that are chains of coroutines have them.
std::string coroutine_members(const Task& task, const Snapshot& snapshot) {
  if (!is_coroutine(task.runtime)) return {};
  std::string items;
  const auto& all = snapshot.coroutines;
  for (auto at = std::ranges::lower_bound(all, task.id, {}, &Coroutine::task);
       at != all.end() && at->task == task.id; ++at) {
    const Coroutine& coroutine = *at;
    const bool is_awaited = coroutine.link != CoroutineLink::kNone;
    fmt::format_to(std::back_inserter(items),
                   R"({}{{"address":"0x{:x}","function":{},"state":"{}","awaited_by":{},"link":{},)"
                   R"("sure":{},"verified":{}}})",
                   items.empty() ? "" : ",", coroutine.address,
                   text(snapshot.coroutine_functions[coroutine.function]).dump(), name(coroutine.state),
                   is_awaited ? fmt::format(R"("0x{:x}")", coroutine.awaited_by) : std::string(kNull),
                   text_or_null(name(coroutine.link)).dump(), coroutine.sure_link, coroutine.verified);
  }
  return fmt::format(R"(,"coroutines":[{}])", items);
}

}  // namespace

JsonItems::JsonItems(const Report& report) : report_(report), unknown_kind_(kind_members({})) {
  for (const std::string& type : report.types) types_.push_back(text(type).dump());
  for (const ReportStack& stack : report.stacks) kinds_.push_back(kind_members(stack.kind));
  for (int i = 0; i <= static_cast<int>(kLastLeafReason); ++i) {
    reasons_.push_back(text_or_null(describe(static_cast<LeafReason>(i))).dump());
  }
}

std::vector<JsonItems::Member> JsonItems::head(const JsonOptions& options) const {
  const Snapshot& snapshot = *report_.snapshot;
  Json cmdline = Json::array();
  for (const std::string& argument : snapshot.process.cmdline) cmdline.push_back(text(argument));
  const Json tool = {{"name", "asynctrace"}, {"version", options.tool_version}};
  const Json process = {{"pid", snapshot.process.pid},
                        {"exe", text(snapshot.process.exe)},
                        {"cmdline", cmdline},
                        {"start_time", time_or_null(snapshot.process.start_realtime_ns)},
                        {"ended_at", time_or_null(snapshot.process.end_realtime_ns)},
                        {"state", name(snapshot.process.state)}};
  std::vector<Member> members{{"schema", Json("asynctrace.dump/1").dump()},
                              {"tool", tool.dump()},
                              {"captured_at", time_or_null(snapshot.captured_realtime_ns).dump()},
                              {"capture_ms", fmt::format("{}", (snapshot.capture_ns + 999'999) / 1'000'000)},
                              {"reason", Json(options.reason).dump()},
                              {"source", Json(source(report_)).dump()},
                              {"durations_at_least", Json(snapshot.durations_at_least).dump()},
                              {"process", process.dump()},
                              {"since_earlier_ns", number_or_null(report_.since_earlier_ns)},
                              {"crash", crash()}};
  if (snapshot.repoll) members.push_back({"repoll", repoll(*snapshot.repoll)});
  return members;
}

std::string JsonItems::crash() const {
  if (!report_.crash) return std::string(kNull);
  const Crash& crash = *report_.snapshot->crash;
  const bool is_timed = report_.snapshot->source != DumpSource::kCensus;
  return written({{"signal", text(signal_name(crash.signal))},
                  {"signal_number", crash.signal},
                  {"tid", crash.tid ? Json(*crash.tid) : Json(nullptr)},
                  {"task", crash.task ? Json(*crash.task) : Json(nullptr)},
                  {"in_poll_ns", is_timed ? Json(crash.in_poll_ns) : Json(nullptr)},
                  {"stack", report_.crash->stack ? Json(*report_.crash->stack) : Json(nullptr)},
                  {"reason", text_or_null(crash.no_stack_reason)}});
}

std::string JsonItems::runtime(const ReportRuntime& runtime) const {
  return written({{"name", text(runtime.name)},
                  {"version", text_or_null(runtime.version)},
                  {"tasks", runtime.tasks},
                  {"workers", runtime.workers.total}});
}

std::string JsonItems::group(const Group& group) const {
  const auto time = [&](uint64_t ns) {
    return number_or_null(group.waiting.known ? std::optional(ns) : std::nullopt);
  };
  return fmt::format(
      R"({{"tasks":[{}],"count":{},"class":"{}","min_ns":{},"median_ns":{},"max_ns":{},"stacks":[{}],"unmoved":{}}})",
      fmt::join(group.tasks, ","), group.tasks.size(), name(group.group_class), time(group.waiting.min_ns),
      time(group.waiting.median_ns), time(group.waiting.max_ns), fmt::join(group.stacks, ","),
      report_.since_earlier_ns ? Json(group.unmoved).dump() : std::string(kNull));
}

std::string JsonItems::suspect(const Suspect& suspect) const {
  return fmt::format(R"({{"kind":{},"evidence":{},"tasks":[{}]}})", text(suspect.kind).dump(),
                     text(suspect.evidence).dump(), fmt::join(suspect.group.tasks, ","));
}

std::string JsonItems::diagnostic(const Diagnostic& diagnostic) const {
  return written({{"code", diagnostic.code},
                  {"message", text(diagnostic.message)},
                  {"remedy", text_or_null(diagnostic.remedy)}});
}

std::string JsonItems::stack(const ReportStack& stack) const {
  return Json(stack.frames).dump();
}

std::string JsonItems::frame(const ReportFrame& frame) const {
  const Frame& source = report_.symbols->frames()[frame.source];
  const std::vector<Module>& modules = report_.snapshot->modules;
  const bool in_module = source.module && *source.module < modules.size();
  return written({{"function", text(frame.name)},
                  {"raw", text(source.raw)},
                  {"file", text_or_null(frame.file)},
                  {"line", source.line != 0 ? Json(source.line) : Json(nullptr)},
                  {"column", source.column != 0 ? Json(source.column) : Json(nullptr)},
                  {"module", in_module ? text(modules[*source.module].path) : Json(nullptr)},
                  {"offset", hex(source.offset)},
                  {"inlined", source.inlined},
                  {"class", asynctrace::name(frame.frame_class)}});
}

std::vector<const Thread*> JsonItems::threads() const {
  std::vector<const Thread*> threads;
  for (const Thread& thread : report_.snapshot->threads) threads.push_back(&thread);
  std::sort(threads.begin(), threads.end(), [](const Thread* a, const Thread* b) { return a->tid < b->tid; });
  return threads;
}

std::string JsonItems::thread(const Thread& thread) const {
  Json value = {{"tid", thread.tid},
                {"name", text(thread.name)},
                {"state", name(thread.state)},
                {"task", thread.task ? Json(*thread.task) : Json(nullptr)}};
  const auto index = static_cast<size_t>(&thread - report_.snapshot->threads.data());
  if (index < report_.thread_stacks.size()) {
    const auto stack = report_.thread_stacks[index];
    value["stack"] = stack ? Json(*stack) : Json(nullptr);
  }
  return written(value);
}

std::string JsonItems::module(const Module& module) const {
  std::string build_id;
  for (const uint8_t byte : module.build_id) build_id += fmt::format("{:02x}", byte);
  return written(
      {{"path", text(module.path)}, {"build_id", text_or_null(build_id)}, {"base", hex(module.bias)}});
}

std::string JsonItems::lost() const {
  const Lost& lost = report_.snapshot->lost;
  return written(
      {{"leaves", lost.leaves}, {"tasks", lost.tasks}, {"stacks", lost.stacks}, {"watchers", lost.watchers}});
}

std::string JsonItems::reason(const ReportLeaf& leaf) const {
  if (leaf.reason == LeafReason::kNone && leaf.source->holder_unknown != nullptr)
    return text(leaf.source->holder_unknown).dump();
  return reasons_[static_cast<size_t>(leaf.reason)];
}

// Of a task whose polls are not seen nothing is known.
std::string_view JsonItems::unmoved(const ReportTask& task) const {
  if (!report_.since_earlier_ns || task.task->kind == TaskKind::kWaker || task.task->from_census)
    return kNull;
  return task.unmoved ? "true" : "false";
}

// Only leaves of watchers have a descriptor.
std::string JsonItems::descriptor_member(const Task& task) const {
  std::string members;
  if (task.watcher)
    members = fmt::format(R"(,"descriptor":{})", number_or_null(descriptor_of(task, *report_.snapshot)));
  if (const auto due = due_of(task, *report_.snapshot)) members += fmt::format(R"(,"due_ns":{})", *due);
  return members;
}

std::string JsonItems::causes_member(const ReportTask& task) const {
  if (!task.causes) return {};
  const CauseChain& chain = report_.causes[*task.causes];
  Json links = Json::array();
  for (const ReportCause& cause : chain.links) {
    links.push_back({{"task", cause.task != 0 ? Json(cause.task) : Json(nullptr)},
                     {"function", text_or_null(cause.function)},
                     {"stack", cause.stack ? Json(*cause.stack) : Json(nullptr)},
                     {"state", name(cause.state)}});
  }
  return fmt::format(R"(,"causes":{{"links":{},"more":{}}})", links.dump(), chain.more);
}

std::string JsonItems::task(const ReportTask& task) const {
  const Task& source = *task.task;
  const auto seen = [&](uint64_t value) {
    return number_or_null(source.from_census ? std::nullopt : std::optional(value));
  };
  std::string line = fmt::format(
      R"({{"id":{},"native_id":{},"runtime":{},"address":"0x{:x}","kind":"{}","type":{},"name":{},)"
      R"("state":"{}","observed":{},"stuck":{},"created_ns":{},"in_state_ns":{},"polls":{},"wakes":{},)"
      R"("busy_ns":{},"max_poll_ns":{},"last_poll_tid":{},"running_stack":{}{},"unmoved":{},"leaves":[)",
      source.id, number_or_null(source.native_id), text(runtime_name(source)).dump(), source.address,
      name(task.kind), task.type ? std::string_view(types_[*task.type]) : kNull,
      source.native ? text_or_null(source.native->name).dump() : std::string(kNull), name(source.state),
      source.kind != TaskKind::kWaker && !source.from_census, source.stuck, seen(source.created_ns),
      seen(source.in_state_ns), seen(source.polls), seen(source.wakes), seen(source.busy_ns),
      seen(source.max_poll_ns), number_or_null(source.last_poll_tid), number_or_null(task.running_stack),
      native_members(task) + coroutine_members(source, *report_.snapshot) + causes_member(task),
      unmoved(task));
  for (const ReportLeaf& leaf : task.leaves) {
    if (line.back() == '}') line += ',';
    fmt::format_to(
        std::back_inserter(line),
        R"({{{},"waiting_ns":{},"waits_for":{},"resource":{},"confirmed":{},"stack":{},"reason":{}{}{}}})",
        leaf.stack ? kinds_[*leaf.stack] : unknown_kind_, seen(leaf.source->waiting_ns),
        leaf.source->waits_for_task ? fmt::format(R"({{"task":{}}})", *leaf.source->waits_for_task)
                                    : std::string(kNull),
        source.watcher ? text_or_null(resource_of(source, *report_.snapshot)).dump() : std::string(kNull),
        leaf.confirmed, number_or_null(leaf.stack), reason(leaf), descriptor_member(source),
        source.from_census || leaf.reason == LeafReason::kFromDebugInfo ? R"(,"source":"census")"
        : leaf.source->met                                              ? R"(,"source":"repoll")"
                                                                        : "");
  }
  return line + "]}";
}

}  // namespace asynctrace
