#include "cli/commands/census_report.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include <fmt/format.h>

#include "cli/census/census.hpp"
#include "cli/census/core_image.hpp"
#include "cli/census/core_threads.hpp"
#include "cli/coroutines/asio_tracked.hpp"
#include "cli/coroutines/asio_watchers.hpp"
#include "cli/coroutines/coroutine_census.hpp"
#include "cli/process/file_descriptor.hpp"
#include "cli/process/proc.hpp"
#include "cli/tick_rate.hpp"

namespace asynctrace {
namespace {

namespace fs = std::filesystem;

ProcessInfo process_info(pid_t pid) {
  ProcessInfo info;
  info.pid = static_cast<uint32_t>(pid);
  std::error_code unknown;
  info.exe = fs::read_symlink(fmt::format("/proc/{}/exe", pid), unknown).string();
  std::string words = read_file(fmt::format("/proc/{}/cmdline", pid)).value_or("");
  for (size_t at = 0, end = 0; (end = words.find('\0', at)) != words.npos; at = end + 1)
    info.cmdline.push_back(words.substr(at, end - at));
  const auto stat = read_stat(pid);
  const auto age = stat ? age_seconds(stat->start_time) : std::nullopt;
  if (age) {
    info.start_realtime_ns =
        static_cast<int64_t>(clock_ns(CLOCK_REALTIME)) - static_cast<int64_t>(*age * 1e9);
  }
  info.state = ProcessState::kRunning;
  return info;
}

std::vector<Thread> threads_of(pid_t pid) {
  std::vector<Thread> threads;
  std::error_code unknown;
  for (const auto& entry : fs::directory_iterator(fmt::format("/proc/{}/task", pid), unknown)) {
    Thread thread;
    const std::string number = entry.path().filename().string();
    std::from_chars(number.data(), number.data() + number.size(), thread.tid);
    thread.name = read_file(entry.path() / "comm").value_or("");
    if (thread.name.ends_with('\n')) thread.name.pop_back();
    threads.push_back(std::move(thread));
  }
  return threads;
}

// The program itself can be opened even where its path leads nowhere, or somewhere else.
void mend_path_of_program(pid_t pid, const std::string& exe, std::vector<Module>& modules) {
  constexpr std::string_view kDeleted = " (deleted)";
  if (!exe.ends_with(kDeleted)) return;
  for (Module& module : modules)
    if (module.path == exe) module.path = fmt::format("/proc/{}/exe", pid);
}

Result<std::unique_ptr<ProcessReport>> start_report(Snapshot snapshot, const ReadingOptions& options,
                                                    std::string reason) {
  snapshot.source = DumpSource::kCensus;
  return Symbolizer::open(snapshot, options.symbols).map([&](std::unique_ptr<Symbolizer> symbols) {
    return std::make_unique<ProcessReport>(std::move(snapshot), std::move(symbols), std::move(reason));
  });
}

tl::unexpected<Error> no_runtime(const Snapshot& snapshot, const CensusScope& scope) {
  const std::string what = fmt::format("process {} ({})", snapshot.process.pid,
                                       fs::path(snapshot.process.exe).filename().string());
  if (scope.unknown_layouts > 0) {
    return fail(
        what + " is not traced, and its tokio is older than 1.21: its tasks cannot be found in memory",
        "start the program with `asynctrace run`");
  }
  return fail(what + " is not traced, and no async runtime that is known was found in its memory",
              "a runtime is known by the program's symbol table: build without strip, or name the directory "
              "of its debug files with --debug-dir");
}

// Who holds a thread says so.
void note_stop(const NativeThread& thread, Snapshot& snapshot) {
  if (thread.stopped_ns == 0) return;
  auto known = std::ranges::find(snapshot.threads, static_cast<uint32_t>(thread.tid), &Thread::tid);
  if (known == snapshot.threads.end()) {
    snapshot.threads.emplace_back().tid = static_cast<uint32_t>(thread.tid);
    known = std::prev(snapshot.threads.end());
  }
  known->stopped_ns += thread.stopped_ns;
}

// For the coroutines of a live process. Both must outlive the reader.
ThreadReader live_threads(const pid_t& pid, bool may_stop, Snapshot& snapshot) {
  ThreadReader reader;
  std::error_code unknown;
  reader.shares_clocks = fs::read_symlink("/proc/self/ns/time", unknown) ==
                         fs::read_symlink(fmt::format("/proc/{}/ns/time", pid), unknown);
  reader.threads = [&pid, may_stop, &snapshot] {
    std::vector<NativeThread> threads = native_stacks_of_process(pid, may_stop);
    for (const NativeThread& thread : threads) note_stop(thread, snapshot);
    return threads;
  };
  reader.hold = [&pid, may_stop, &snapshot](pid_t tid) -> Result<NativeThread> {
    if (!may_stop) return fail("its registers are not known, and --no-stop leaves it alone");
    auto thread = native_stack_of_held_thread(pid, tid);
    if (thread) note_stop(*thread, snapshot);
    return thread;
  };
  return reader;
}

template <typename AddThreads>
Result<OwnedReport> finish_report(std::unique_ptr<ProcessReport> result, const ProcessImage& image,
                                  const ThreadsOf& threads, const ThreadReader& of_coroutines,
                                  uint64_t started, const ReadingOptions& options, AddThreads add_threads) {
  Snapshot& snapshot = result->snapshot;
  CensusScope scope = add_tasks_in_memory(image, threads, snapshot, *result->symbols);
  const CoroutineScope coroutines =
      add_coroutines_in_memory(image, of_coroutines, snapshot, *result->symbols);
  if (scope.tables == 0 && coroutines.functions == 0) return no_runtime(snapshot, scope);
  snapshot.unknown_layouts = scope.unknown_layouts;
  add_threads(*result);
  snapshot.capture_ns = clock_ns(CLOCK_MONOTONIC) - started;
  result->report = build_report(snapshot, *result->symbols, options.report);
  if (take_census(result->report, snapshot, *result->symbols, image.memory.get(), std::move(scope)))
    result->report = build_report(snapshot, *result->symbols, options.report);
  return result;
}

}  // namespace

Result<OwnedReport> read_census_report(const TracedProcess& process, const ReadingOptions& options,
                                       std::string reason) {
  const uint64_t started = clock_ns(CLOCK_MONOTONIC);
  const auto image = open_process_image(process.pid);
  if (!image) return tl::unexpected(image.error());
  Snapshot snapshot;
  snapshot.captured_realtime_ns = static_cast<int64_t>(clock_ns(CLOCK_REALTIME));
  snapshot.process = process_info(process.pid);
  snapshot.modules = image->modules;
  mend_path_of_program(process.pid, snapshot.process.exe, snapshot.modules);
  snapshot.threads = threads_of(process.pid);
  auto result = start_report(std::move(snapshot), options, std::move(reason));
  if (!result) return tl::unexpected(result.error());
  const auto threads = [&] { return native_stacks_of_process(process.pid, false); };
  const ThreadReader of_coroutines = live_threads(process.pid, options.report.may_stop, (*result)->snapshot);
  return finish_report(std::move(*result), *image, threads, of_coroutines, started, options,
                       [](ProcessReport&) {});
}

Result<OwnedReport> read_core_report(const TracedProcess& process, const ReadingOptions& options) {
  const uint64_t started = clock_ns(CLOCK_MONOTONIC);
  const auto core = open_core_image(process.open_path);
  if (!core) return tl::unexpected(core.error());
  Snapshot snapshot;
  snapshot.captured_realtime_ns = core->written_realtime_ns;
  snapshot.modules = core->process.modules;
  if (core->program) {
    std::string& path = snapshot.modules[*core->program].path;
    if (!options.executable.empty()) path = options.executable;
    snapshot.process.exe = path;
  }
  snapshot.process.pid = core->pid;
  snapshot.cut_short = core->is_cut;
  if (!core->arguments.empty()) snapshot.process.cmdline = {core->arguments};
  snapshot.process.state = core->signal != 0 ? ProcessState::kCrashed : ProcessState::kUnknown;
  const std::string executable = snapshot.process.exe;
  auto result = start_report(std::move(snapshot), options, "post-mortem");
  if (!result) return tl::unexpected(result.error());
  const auto stacks = native_stacks_of_core(process.open_path, executable);
  const auto threads = [&] { return stacks.value_or(std::vector<NativeThread>()); };
  return finish_report(std::move(*result), core->process, threads, {threads, {}, false}, started, options,
                       [&](ProcessReport& read) {
                         add_core_threads(*core, threads(), read.snapshot, *read.symbols);
                         if (!stacks && read.snapshot.crash)
                           read.snapshot.crash->no_stack_reason = stacks.error().message;
                       });
}

CensusScope add_unseen_tasks(const TracedProcess& process, bool may_stop, ProcessReport& result) {
  Snapshot& snapshot = result.snapshot;
  const auto runs_on = [&](RuntimeId runtime) {
    return [runtime](const Task& task) { return task.runtime == runtime; };
  };
  // Coroutines tell the agent nothing; it may be there for the loop below them.
  const bool only_loops = std::ranges::all_of(snapshot.tasks, runs_on(RuntimeId::kLoop));
  if (process.life != Life::kRunning || (!snapshot.attached_ns && !only_loops)) return {};
  const auto image = open_process_image(process.pid);
  if (!image) return {};
  const auto threads = [&] { return native_stacks_of_process(process.pid, false); };
  CensusScope scope;
  if (snapshot.attached_ns) {
    scope = add_tasks_in_memory(*image, threads, snapshot, *result.symbols);
    snapshot.unknown_layouts = scope.unknown_layouts;
    if (scope.tables > 0) snapshot.source = DumpSource::kBoth;
  }
  // Those that take part through the native API are known by it.
  if (std::ranges::any_of(snapshot.tasks, runs_on(RuntimeId::kNative))) return scope;
  const ThreadReader reader = live_threads(process.pid, may_stop, snapshot);
  const CoroutineScope coroutines = add_coroutines_in_memory(*image, reader, snapshot, *result.symbols);
  if (coroutines.functions > 0) snapshot.source = DumpSource::kBoth;
  const auto is_asios = [](const Task& task) {
    return task.runtime == RuntimeId::kAsio || is_tracked_operation(task);
  };
  if (std::ranges::any_of(snapshot.tasks, is_asios))
    drop_watchers_of_asio(*image, snapshot, *result.symbols);
  return scope;
}

}  // namespace asynctrace
