#include "cli/tree/diagnostics.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <vector>

#include <fmt/format.h>

#include "cli/render/duration.hpp"

namespace asynctrace {
namespace {

struct MissingRow {
  MissingReason reason;
  std::string_view code, what, remedy, remedy_in_c;
};
constexpr size_t kNamedThreads = 4;
constexpr std::string_view kRebuild = "CARGO_PROFILE_RELEASE_DEBUG=1 cargo build --release";
constexpr std::string_view kRebuildInC = "build with -g";
constexpr std::string_view kRebuildInFull = "CARGO_PROFILE_RELEASE_DEBUG=2 cargo build --release";
constexpr MissingRow kMissing[] = {
    {MissingReason::kFileGone, "file_gone", "the file cannot be opened",
     "read the dump where the program's files are", "read the dump where the program's files are"},
    {MissingReason::kBuildIdDiffers, "build_id_differs", "the file on disk is another build",
     "put back the file that the process runs, or restart the process",
     "put back the file that the process runs, or restart the process"},
    {MissingReason::kNoSymbols, "no_symbols", "stripped: functions are unknown",
     "build without strip: CARGO_PROFILE_RELEASE_STRIP=none CARGO_PROFILE_RELEASE_DEBUG=1 cargo build "
     "--release",
     "build without strip, and with -g"},
    {MissingReason::kNoDebugInfo, "no_debug_info", "no debug info: lines and inlined calls are unknown",
     kRebuild, kRebuildInC},
    {MissingReason::kNoSplitUnits, "no_split_debug_info", "its .dwo files are missing or packed",
     "CARGO_PROFILE_RELEASE_SPLIT_DEBUGINFO=off CARGO_PROFILE_RELEASE_DEBUG=1 cargo build --release",
     "build without -gsplit-dwarf"},
};

struct LostRow {
  uint64_t Lost::*counter;
  std::string_view code, what, remedy;
};
constexpr std::string_view kMoreRoom = "asynctrace run --max-size 2G";
constexpr LostRow kLost[] = {
    {&Lost::leaves, "lost_leaves", "leaves not recorded, for lack of room", kMoreRoom},
    {&Lost::tasks, "lost_tasks", "polls of tasks not recorded, for lack of room", kMoreRoom},
    {&Lost::stacks, "lost_stacks", "stacks not recorded, for lack of room", kMoreRoom},
    {&Lost::names, "lost_names", "names and origins of tasks not recorded, for lack of room", kMoreRoom},
    {&Lost::watchers, "lost_watchers", "watchers of poll loops not recorded (at most 65,536 are)", kMoreRoom},
    {&Lost::at_fork, "lost_at_fork",
     "leaves not recorded, for the parent had changed them before this forked process could copy them", ""},
    {&Lost::threads, "lost_threads", "threads not recorded, for lack of room", kMoreRoom},
    {&Lost::unwind_failed, "unwind_failed", "stacks not walked to their root",
     "build with -C force-unwind-tables=yes"},
    {&Lost::self_waking_stacks, "self_waking",
     "places where the program wakes the waker it replaces, so that their leaves have no exact end", ""},
    {&Lost::foreign_leaves, "foreign_wakers",
     "waits under executors that are not known, which could not be followed", ""},
    {&Lost::tables_off, "tables_off", "waker tables switched off, so that their leaves are not seen", ""},
};

// Modules whose functions the user wrote or linked in; the system's own libraries never have debug info.
std::vector<size_t> frames_without_line(const Report& report) {
  std::vector<size_t> missing(report.snapshot->modules.size(), 0);
  for (const ReportFrame& frame : report.frames) {
    const Frame& source = report.symbols->frames()[frame.source];
    const bool counts = frame.frame_class == FrameClass::kUser && source.line == 0;
    if (counts && source.module && *source.module < missing.size()) ++missing[*source.module];
  }
  return missing;
}

bool is_system(const Module& module) {
  // A library found through $ORIGIN comes with dots in its path.
  const std::string path = std::filesystem::path(module.path).lexically_normal().string();
  return path.starts_with("/lib/") || path.starts_with("/lib64/") || path.starts_with("/usr/lib/") ||
         path.starts_with("[");
}

// Of the runtimes that were found, all are libraries of C or C++, or use the native API.
bool is_in_c(const Report& report) {
  return !report.runtimes.empty() && std::ranges::all_of(report.runtimes, [](const ReportRuntime& runtime) {
    return runtime.id == RuntimeId::kNative || runtime.id == RuntimeId::kLoop || is_coroutine(runtime.id);
  });
}

void add_missing(Report& report) {
  const bool in_c = is_in_c(report);
  const std::vector<size_t> without_line = frames_without_line(report);
  for (uint32_t i = 0; i < report.snapshot->modules.size(); ++i) {
    const Module& module = report.snapshot->modules[i];
    if (!report.symbols->touched(i) || is_system(module)) continue;
    const ModuleStatus status = report.symbols->status(i);
    const auto row = std::find_if(std::begin(kMissing), std::end(kMissing),
                                  [&](const MissingRow& known) { return known.reason == status.reason; });
    if (row != std::end(kMissing)) {
      std::string message =
          status.detail.empty() ? fmt::format("{}: {}", module.path, row->what) : status.detail;
      report.diagnostics.push_back(
          {row->code, std::move(message), std::string(in_c ? row->remedy_in_c : row->remedy)});
    } else if (without_line[i] > 0) {
      // Debug info of the standard library alone is no help for the user's own code.
      report.diagnostics.push_back(
          {"no_lines",
           fmt::format("{}: frames of the user's own code without a line: {}", module.path, without_line[i]),
           std::string(in_c ? kRebuildInC : kRebuild)});
    }
  }
}

void add_unknown_holders(Report& report) {
  std::map<std::string_view, size_t> leaves;
  for (const ReportTask& task : report.tasks)
    for (const ReportLeaf& leaf : task.leaves)
      if (leaf.shown && leaf.source->holder_unknown != nullptr) ++leaves[leaf.source->holder_unknown];
  for (const auto& [reason, count] : leaves) {
    const bool can_be_built = reason == kNeedsDebugInfo;
    report.diagnostics.push_back(
        {"holder_unknown",
         fmt::format("{} for a lock, {}", count == 1 ? "1 leaf waits" : fmt::format("{} leaves wait", count),
                     reason),
         std::string(can_be_built ? kRebuildInFull : "")});
  }
}

void add_stopped_threads(Report& report) {
  std::vector<const Thread*> stopped;
  uint64_t longest_ns = 0;
  for (const Thread& thread : report.snapshot->threads) {
    if (thread.stopped_ns == 0) continue;
    stopped.push_back(&thread);
    longest_ns = std::max(longest_ns, thread.stopped_ns);
  }
  const auto add = [&](std::string message) {
    report.diagnostics.push_back(
        {"thread_stopped", std::move(message), "--no-stop leaves running threads alone"});
  };
  if (stopped.size() > kNamedThreads) {
    return add(
        fmt::format("{} threads were stopped, one after the other, to read their stacks, none for "
                    "more than {}",
                    stopped.size(), format_duration(longest_ns)));
  }
  for (const Thread* thread : stopped)
    add(fmt::format("thread {} was stopped for {} to read its stack", thread->tid,
                    format_duration(thread->stopped_ns)));
}

void add_census(Report& report) {
  const Snapshot& snapshot = *report.snapshot;
  const auto is_one = [](const Task& task) { return is_coroutine(task.runtime) && task.from_census; };
  const auto coroutines = std::ranges::count_if(snapshot.tasks, is_one);
  const bool all_are = coroutines > 0 && std::ranges::all_of(snapshot.tasks, is_one);
  if (coroutines > 0 && (all_are || (snapshot.source == DumpSource::kBoth && !snapshot.attached_ns))) {
    report.diagnostics.push_back(
        {"census", "coroutines are read from memory: their times are not known", ""});
  } else if (snapshot.source == DumpSource::kCensus) {
    const bool any_block_on =
        std::ranges::any_of(snapshot.tasks, [](const Task& task) { return task.kind == TaskKind::kBlockOn; });
    report.diagnostics.push_back(
        {"census",
         fmt::format("read from memory, without the agent: {} not known",
                     any_block_on ? "times and polls are" : "times, polls and the futures of block_on are"),
         "asynctrace run, or the lines of `asynctrace env`, for the next start"});
  }
  if (!snapshot.unknown_running.empty()) {
    report.diagnostics.push_back(
        {"unknown_running", "whether some of the coroutines run is not known: " + snapshot.unknown_running,
         "dump without --no-stop, where nothing else traces the process"});
  }
  const auto untyped = std::ranges::count_if(snapshot.tasks, [](const Task& task) {
    return task.from_census && !is_coroutine(task.runtime) && task.state == TaskState::kWaiting &&
           task.leaves.empty() && !task.torn;
  });
  if (untyped > 0) {
    report.diagnostics.push_back({"census_no_types",
                                  fmt::format("tasks whose futures could not be followed, for lack of full "
                                              "debug info: {}",
                                              untyped),
                                  std::string(kRebuildInFull)});
  }
  if (snapshot.cut_short) {
    report.diagnostics.push_back({"core_cut_short", "the core file was cut short: tasks may be missing",
                                  "ulimit -c unlimited, and room on the disk"});
  }
  if (snapshot.unknown_layouts > 0) {
    report.diagnostics.push_back(
        {"census_old_runtime",
         fmt::format("types of tasks that were not looked for, of a tokio before 1.21: {}",
                     snapshot.unknown_layouts),
         ""});
  }
}

void add_unknown_descriptors(Report& report) {
  const Snapshot& snapshot = *report.snapshot;
  if (snapshot.no_descriptors.empty()) return;
  report.diagnostics.push_back({"descriptors_unknown",
                                "what the descriptors are is not known: " + snapshot.no_descriptors,
                                "dump it while it runs, as its user or as root"});
}

void add_repoll(const Repoll& repoll, Report& report) {
  constexpr std::string_view kRemedy = "a thread that is blocked in a poll is among the suspects; dump again";
  if (repoll.silent_runtimes > 0) {
    report.diagnostics.push_back(
        {"repoll_unanswered",
         fmt::format(
             "runtimes that have not polled their tasks in time: {} of {}; their tasks are shown as they "
             "recorded themselves",
             repoll.silent_runtimes, repoll.runtimes),
         std::string(kRemedy)});
  }
  if (repoll.missing_workers > 0) {
    report.diagnostics.push_back(
        {"repoll_incomplete",
         fmt::format(
             "workers that did not come to let their runtime poll its tasks: {} of {}; the tasks are shown "
             "as they recorded themselves",
             repoll.missing_workers, repoll.workers),
         std::string(kRemedy)});
  }
}

}  // namespace

void add_diagnostics(Report& report) {
  const Snapshot& snapshot = *report.snapshot;
  if (!snapshot.agent_off_reason.empty()) {
    report.diagnostics.push_back({"agent_off", "the agent turned itself off: " + snapshot.agent_off_reason,
                                  "what it saw until then is shown; restart the program to trace it again"});
  }
  if (snapshot.attached_ns) {
    const bool in_memory = snapshot.source == DumpSource::kBoth;
    report.diagnostics.push_back(
        {"attached",
         fmt::format(
             "attached {} ago: tasks that have not been polled since {}",
             format_duration(*snapshot.attached_ns),
             in_memory ? "are read from memory, their times and polls are not known" : "are not listed"),
         "asynctrace run sees tasks from their first poll on"});
  }
  if (snapshot.process.state == ProcessState::kExeced) {
    report.diagnostics.push_back(
        {"execed", "the process has since executed another program, which has its own file", ""});
  }
  if (snapshot.crash && !snapshot.crash->stack) {
    report.diagnostics.push_back(
        {"no_crash_stack", "the native stack of the crash is unknown: " + snapshot.crash->no_stack_reason,
         "asynctrace run --crash-stack takes it from the living process"});
  }
  add_stopped_threads(report);
  if (snapshot.repoll) add_repoll(*snapshot.repoll, report);
  add_missing(report);
  add_census(report);
  add_unknown_holders(report);
  add_unknown_descriptors(report);
  for (const LostRow& row : kLost) {
    const uint64_t count = snapshot.lost.*row.counter;
    if (count == 0) continue;
    report.diagnostics.push_back({row.code, fmt::format("{}: {}", row.what, count), std::string(row.remedy)});
  }
  const auto alone = std::count_if(snapshot.tasks.begin(), snapshot.tasks.end(),
                                   [](const Task& task) { return task.kind == TaskKind::kWaker; });
  if (alone > 0) {
    report.diagnostics.push_back(
        {"wakers_alone",
         fmt::format(
             "tasks of executors that are not known, seen by their wakers alone: {}; one that ended and "
             "left a waker behind would still be shown",
             alone),
         ""});
  }
  const auto torn =
      std::count_if(snapshot.tasks.begin(), snapshot.tasks.end(), [](const Task& task) { return task.torn; });
  if (torn > 0) {
    report.diagnostics.push_back(
        {"torn_tasks",
         fmt::format("tasks that kept changing while they were read, leaves may be missing: {}", torn),
         "dump again"});
  }
}

}  // namespace asynctrace
