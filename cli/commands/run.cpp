#include "cli/commands/run.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "cli/commands/messages.hpp"
#include "cli/commands/pack_process.hpp"
#include "cli/render/duration.hpp"
#include "cli/render/escape.hpp"
#include "cli/render/phrases.hpp"

namespace asynctrace {
namespace {

constexpr int kTimedOut = 124;
constexpr int kOwnFailure = 125;
constexpr size_t kFilesNamed = 8;

using Clock = Supervisor::Clock;
using TimePoint = std::optional<Clock::time_point>;

std::string describe_end(int status) {
  if (WIFSIGNALED(status))
    return fmt::format("was killed by signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  return fmt::format("ended with status {}", WEXITSTATUS(status));
}

std::string in_words(std::chrono::nanoseconds duration) {
  return format_duration(static_cast<uint64_t>(duration.count()));
}

}  // namespace

Result<int> Run::execute(const Launch& launch) {
  // A tracer sees every end itself.
  if (options_.follow && !options_.crash_stack) {
    const auto is_segment = [this](std::string_view name) { return segments_.is_segment(name); };
    supervisor_.watch_ends(EndWatch(segments_.directory(), is_segment));
  }
  auto started = supervisor_.start(launch, [this](pid_t pid) { announce(pid); });
  if (!started) return tl::unexpected(started.error());
  if (reports_.wanted()) supervisor_.tell_cancel();
  if (options_.hang) hangs_.emplace(*options_.hang, report_options(options_.form));
  supervise();
  return finish();
}

void Run::announce(pid_t pid) const {
  if (options_.quiet || ::isatty(STDERR_FILENO) != 1) return;
  print_message(fmt::format("tracing {} (pid {}). {}asynctrace dump {}", escape(options_.command[0]), pid,
                            options_.quit_key ? "Ctrl-\\ shows its tasks; or: " : "Its tasks: ", pid));
}

void Run::supervise() {
  auto start = Clock::now();
  auto at = [&](const std::optional<std::chrono::nanoseconds>& delay) {
    return delay ? TimePoint(start + *delay) : std::nullopt;
  };
  TimePoint dump_after = at(options_.dump_after), dump_every = at(options_.dump_every),
            timeout = at(options_.timeout);
  for (;;) {
    TimePoint next;
    const TimePoint hang = hangs_ ? TimePoint(hangs_->next()) : std::nullopt;
    for (const TimePoint& timer : {dump_after, dump_every, timeout, hang}) {
      if (timer && (!next || *timer < *next)) next = timer;
    }
    Supervisor::Event event = supervisor_.wait(next);
    if (event == Supervisor::Event::kTargetEnded) return;
    if (event == Supervisor::Event::kQuitKey) {
      dump("signal");
    } else if (event == Supervisor::Event::kEnded) {
      tell_lost();
    } else if (event == Supervisor::Event::kCancelled) {
      dump("cancel");
      write_reports({RunOutcome::Kind::kStopped, "was cancelled by a signal from outside"});
    } else if (next == timeout) {
      return end_tree("timeout", fmt::format("ran into the time-out of {}", in_words(*options_.timeout)));
    } else if (next == hang) {
      if (look_for_hangs()) return end_tree("hang", fmt::format("hung for {}", in_words(*options_.hang)));
    } else if (next == dump_after) {
      dump_after.reset();
      dump("after");
    } else {
      dump("interval");
      // From now on, not from when it was due: a dump may take longer than the interval.
      dump_every = Clock::now() + *options_.dump_every;
    }
  }
}

void Run::end_tree(const std::string& reason, const std::string& ending) {
  dump(reason);
  print_message(fmt::format("{} {}", escape(options_.command[0]), ending));
  timed_out_ = true;
  write_reports({RunOutcome::Kind::kStopped, ending});
  supervisor_.end_tree(std::chrono::duration_cast<Clock::duration>(options_.kill_after));
}

// True: some task hangs, and that ends the run.
bool Run::look_for_hangs() {
  const std::vector<HangWatch::Hang> found = hangs_->look(segments_.live());
  for (const HangWatch::Hang& hang : found) {
    print_message(fmt::format("{} (pid {}) hangs: {} inside neither polled nor woken for {}",
                              program_name(hang.report->report), hang.report->snapshot.process.pid,
                              counted(hang.tasks, "task"), format_duration(hang.longest_ns)));
    if (!options_.kill_on_hang) write_dump(*hang.report);
  }
  return options_.kill_on_hang && !found.empty();
}

void Run::write_dump(const ProcessReport& report) {
  auto written = dumps_.write(report);
  if (!written) print_error(written.error());
}

void Run::dump(const std::string& reason) {
  std::vector<TracedProcess> live = segments_.live();
  if (live.empty()) print_message("no tasks to show: " + why_nothing_to_dump());
  const bool ends_the_run = reason == "timeout" || reason == "hang" || reason == "cancel";
  const bool said_by_report = ends_the_run && is_said_by_report();
  for (const TracedProcess& process : live) {
    auto report = processes_.read(process, report_options(options_.form), reason);
    if (!report) {
      print_error(report.error());
      continue;
    }
    if (!said_by_report) write_dump(**report);
    reports_.add(std::move(*report));
  }
}

std::string Run::why_nothing_to_dump() const {
  std::string target = fmt::format("{} (pid {})", escape(options_.command[0]), supervisor_.target());
  auto report = report_in_.read();
  if (!report) return fmt::format("the agent has not reported in from {}", target);
  switch (report->status) {
    case AgentStatus::kOff: return fmt::format("the agent is off in {}: {}", target, escape(report->reason));
    case AgentStatus::kTracing: return fmt::format("{} and its children run no traced program now", target);
    case AgentStatus::kLoaded: break;
  }
  return fmt::format(
      "no async runtime has been found in {} or its children; without its symbol table none is recognized",
      target);
}

void Run::write_reports(const RunOutcome& outcome) {
  auto written = reports_.write(outcome, why_nothing_to_dump());
  if (!written) print_error(written.error());
}

// What crashed, or SIGKILL has ended as the kernel does when memory runs out, shows its tasks at once.
void Run::tell_lost() {
  for (const TracedProcess& process : segments_.take_lost(supervisor_.ended())) tell_end(process);
}

// Of a process whose end nobody saw: it may have been killed, or have left by _exit; it is shown if the run
// failed. Reports tell of every process that left a file.
void Run::tell_end(const TracedProcess& process) {
  const auto ended = supervisor_.ended().find(process.pid);
  const bool is_known = ended != supervisor_.ended().end();
  const bool failed = supervisor_.ended().contains(supervisor_.target()) && supervisor_.exit_code() != 0;
  const bool crashed = process.summary.crashed;
  const bool killed = is_known ? is_killed(ended->second.status) : failed && process.life == Life::kEnded;
  const bool shown = crashed || (killed && !timed_out_);
  const bool is_new = shown && told_.insert(process.open_path).second;
  const bool reported = reports_.wanted() && !reports_.knows(process.summary.pid);
  if (!is_new && !reported) return;
  auto report = read_report(process, report_options(options_.form), crashed ? "crash" : "post-mortem");
  if (!report) return print_error(report.error());
  if (is_new && !is_said_by_report()) write_dump(**report);
  if (reported) reports_.add(std::move(*report));
}

RunOutcome Run::outcome() const {
  const int status = supervisor_.ended().at(supervisor_.target()).status;
  const bool well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  const auto kind = WIFSIGNALED(status) ? RunOutcome::Kind::kStopped : RunOutcome::Kind::kFailed;
  return {well ? RunOutcome::Kind::kWell : kind, describe_end(status)};
}

Result<int> Run::finish() {
  const bool ended_well = !timed_out_ && supervisor_.exit_code() == 0;
  const std::vector<TracedProcess> kept = segments_.discard_clean(supervisor_.ended(), ended_well);
  for (const TracedProcess& process : kept) tell_end(process);
  for (size_t i = 0; options_.pack && i < kept.size(); i++) {
    auto packed = pack_process(kept[i], kept[i].open_path, options_.form.symbols);
    if (!packed) print_error(packed.error());
  }
  name_files(kept);
  if (!timed_out_) write_reports(outcome());
  if (timed_out_) return kTimedOut;
  auto report = report_in_.read();
  if (!report) {
    return fail(
        fmt::format("the agent did not report in: {} {} before the agent was loaded, or never loaded it",
                    options_.command[0], describe_end(supervisor_.ended().at(supervisor_.target()).status)),
        "see whether it starts without asynctrace; if it does, LD_DEBUG=libs shows whether its loader takes "
        "LD_PRELOAD",
        kOwnFailure);
  }
  if (report->status == AgentStatus::kOff) {
    print_message(
        fmt::format("the agent was off in {}: {}", escape(options_.command[0]), escape(report->reason)));
  }
  return supervisor_.exit_code();
}

void Run::name_files(const std::vector<TracedProcess>& kept) const {
  size_t named = std::min(kept.size(), kFilesNamed);
  for (size_t i = 0; i < named; i++) {
    print_message(fmt::format("the tasks of pid {} at its end: asynctrace dump {}", kept[i].pid,
                              shell_quote(kept[i].shown_path)));
  }
  if (named < kept.size()) {
    print_message(fmt::format("and {} more: asynctrace ps", kept.size() - named));
  }
}

}  // namespace asynctrace
