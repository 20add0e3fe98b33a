#include "cli/read_snapshot.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include <fmt/format.h>

#include "cli/crash_reader.hpp"
#include "cli/met_leaves.hpp"
#include "cli/native_reader.hpp"
#include "cli/process/proc.hpp"
#include "cli/segment_file.hpp"
#include "cli/task_reader.hpp"
#include "cli/tick_rate.hpp"
#include "common/segment_reader.hpp"

namespace asynctrace {
namespace {

std::vector<std::string> split_arguments(std::string_view text) {
  std::vector<std::string> arguments;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\0'), text.size());
    arguments.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return arguments;
}

// Turns ticks into durations up to one moment.
class Durations {
 public:
  Durations(const TickRate& rate, uint64_t end_ns) : rate_(rate), end_ns_(end_ns) {}
  uint64_t since(uint64_t ticks) const {
    const uint64_t ns = rate_.to_monotonic_ns(ticks);
    return ns < end_ns_ ? end_ns_ - ns : 0;
  }
  // A damaged clock can make any number of a tick; past the range a conversion would be undefined.
  uint64_t length(uint64_t ticks) const {
    return static_cast<uint64_t>(std::min(static_cast<double>(ticks) * rate_.ns_per_tick, 9.2e18));
  }

 private:
  TickRate rate_;
  uint64_t end_ns_;
};

const char* off_reason(segment::OffReason reason) {
  switch (reason) {
    case segment::OffReason::kNoUnwinder: return "libunwind could not be loaded";
    case segment::OffReason::kNoRoom: return "no room for its records";
    case segment::OffReason::kDetached: return "asynctrace detach";
    default: return "it found an inconsistency and turned itself off";
  }
}

ProcessState how_it_ended(uint32_t wait_status) {
  const int status = static_cast<int>(wait_status);
  if (!WIFSIGNALED(status)) return ProcessState::kExited;
  return is_crash_signal(WTERMSIG(status)) ? ProcessState::kCrashed : ProcessState::kKilled;
}

class Builder {
 public:
  Builder(const SegmentFile& file, const ReadOptions& options)
      : file_(file),
        reader_(file.reader()),
        header_(reader_.header()),
        options_(options),
        durations_(rate(), 0),
        in_abort_(ended_in_abort(reader_, options.state)) {}

  Snapshot build() {
    const uint64_t started = clock_ns(CLOCK_MONOTONIC);
    snapshot_.captured_realtime_ns = static_cast<int64_t>(clock_ns(CLOCK_REALTIME));
    durations_ = Durations(rate(), end_of_time(started));
    end_ = end_on_each_clock(started);
    RawTasks raw = read_tasks(reader_);
    file_.let_go();  // the records of a million tasks; what is left to read is little
    snapshot_.process = process_info();
    if (header_.attached_at != 0) snapshot_.attached_ns = durations_.since(header_.attached_at);
    read_modules();
    snapshot_.poll_hook = {header_.poll_hook_start, header_.poll_hook_end};
    snapshot_.dispatch_hook = {header_.dispatch_hook_start, header_.dispatch_hook_end};
    read_threads();
    native_.read_tasks();
    snapshot_.repoll = options_.repoll;
    snapshot_.tasks.reserve(raw.tasks.size());
    for (; !raw.tasks.empty(); raw.tasks.pop_front()) add_task(raw.tasks.front(), raw.leaves);
    link_joins();
    if (snapshot_.process.state == ProcessState::kCrashed)
      snapshot_.crash = read_crash(reader_, in_abort_, snapshot_);
    read_losses();
    snapshot_.capture_ns = clock_ns(CLOCK_MONOTONIC) - started;
    return std::move(snapshot_);
  }

 private:
  bool lives() const { return options_.state == ProcessState::kRunning; }
  TickRate rate() const { return best_rate(reader_, lives()); }

  // A thread leaves no word when it ends. In another pid namespace thread ids mean nothing to us.
  bool thread_has_ended(uint32_t tid) const {
    if (!lives() || options_.pid == 0 || options_.pid != header_.pid) return false;
    return access(fmt::format("/proc/{}/task/{}", options_.pid, tid).c_str(), F_OK) != 0;
  }

  uint64_t end_of_time(uint64_t now) {
    if (lives()) return now;
    if (header_.died_at_ns != 0) return header_.died_at_ns;
    snapshot_.durations_at_least = true;
    uint64_t last = std::max(header_.last_event, in_abort_ ? header_.crash.at : 0);
    for (uint32_t slot = 0; slot < reader_.used(segment::kTasks); slot++)
      if (const auto task = reader_.task(slot)) last = std::max(last, task->state >> 2);
    return rate().to_monotonic_ns(last);
  }

  // Nothing where nobody saw when the process died.
  std::optional<EndOfTime> end_on_each_clock(uint64_t now) {
    if (snapshot_.durations_at_least) return {};
    if (lives()) return EndOfTime{now, clock_ns(CLOCK_REALTIME), clock_ns(CLOCK_BOOTTIME)};
    const uint64_t lived_ns = header_.died_at_ns - header_.clock.ns0;
    return EndOfTime{header_.died_at_ns, header_.clock.realtime0 + lived_ns, {}};
  }

  ProcessInfo process_info() const {
    ProcessInfo info;
    info.pid = header_.pid;
    info.exe = reader_.string(header_.exe);
    info.cmdline = split_arguments(reader_.string(header_.cmdline));
    info.start_realtime_ns = static_cast<int64_t>(header_.clock.realtime0);
    if (!lives() && header_.died_at_ns != 0) {
      // Unsigned: a damaged file holds anything.
      const uint64_t lived_ns = header_.died_at_ns - header_.clock.ns0;
      info.end_realtime_ns = static_cast<int64_t>(header_.clock.realtime0 + lived_ns);
    }
    info.state = in_abort_                            ? ProcessState::kCrashed
                 : lives() || header_.died_at_ns == 0 ? options_.state
                                                      : how_it_ended(header_.wait_status);
    return info;
  }

  void read_modules() {
    for (uint32_t i = 0; i < reader_.used(segment::kModules); i++) {
      const auto module = reader_.module(i);
      if (!module || module->unloaded != 0) continue;
      Module out;
      out.path = reader_.string(module->path);
      out.build_id.assign(module->build_id, module->build_id + module->build_id_size);
      out.bias = module->bias;
      out.start = module->start;
      out.end = module->end;
      out.is_plain = module->loop == segment::ModuleLoop::kNone;
      if (out.path.ends_with(segment::kAgentLibrary)) {
        snapshot_.agent = {out.start, out.end};
      }
      snapshot_.modules.push_back(std::move(out));
    }
  }

  void read_threads() {
    for (uint32_t i = 0; i < reader_.used(segment::kThreads); i++) {
      const auto thread = reader_.thread(i);
      if (!thread || thread_has_ended(thread->tid)) continue;
      Thread out;
      out.tid = thread->tid;
      out.name.assign(thread->name, strnlen(thread->name, sizeof(thread->name)));
      if (thread->task != 0) out.task = thread->task;
      if (thread->outer_task != 0) out.outer_task = thread->outer_task;
      const bool parked = thread->state == segment::ThreadState::kParked;
      out.state = parked              ? ThreadState::kParked
                  : thread->task != 0 ? ThreadState::kPolling
                                      : ThreadState::kOther;
      if (out.state == ThreadState::kPolling) out.in_state_ns = durations_.since(thread->poll_since);
      if (parked) out.in_state_ns = durations_.since(thread->state_since);
      snapshot_.threads.push_back(std::move(out));
    }
  }

  // The agent's own hooks stand between the frames of a join.
  std::vector<uint64_t> without_agent(std::span<const uint64_t> pcs) const {
    std::vector<uint64_t> kept;
    for (const uint64_t pc : pcs)
      if (!snapshot_.agent.has_return(pc)) kept.push_back(pc);
    return kept;
  }

  std::optional<uint32_t> stack(uint32_t number) {
    if (number == segment::kNoStack) return {};
    const auto [found, is_new] = stack_numbers_.try_emplace(number);
    if (is_new) {
      if (const auto view = reader_.stack(number)) {
        found->second = static_cast<uint32_t>(snapshot_.stacks.size());
        snapshot_.stacks.push_back({without_agent(view->pcs), (view->flags & segment::kTruncated) != 0,
                                    (view->flags & segment::kIncomplete) != 0,
                                    (view->flags & segment::kNoRoot) != 0});
      }
    }
    return found->second;
  }

  void add_task(const RawTask& raw, const std::vector<RawLeaf>& leaves) {
    const segment::Task& in = raw.task;
    Task out;
    out.id = in.id;
    out.address = in.address;
    out.kind = static_cast<TaskKind>(in.kind_and_flags >> 4);
    if (out.kind == TaskKind::kWaker) out.runtime = RuntimeId::kOther;
    if (const auto poller = in.poller != segment::kNoPoller ? reader_.poller(in.poller) : std::nullopt) {
      out.runtime = poller->runtime;
      out.poll_function = poller->address;
    }
    if (auto native = native_.task(in.id)) {
      out.native = std::make_unique<const NativeTask>(std::move(*native));
      out.runtime = RuntimeId::kNative;
    }
    auto watcher = native_.watcher(in.id);
    if (watcher) out.runtime = RuntimeId::kLoop;
    out.state = static_cast<TaskState>(in.state & 3);
    out.nests_polls = (in.kind_and_flags & segment::kNestsPolls) != 0;
    out.torn = !raw.settled;
    out.created_ns = durations_.since(in.created);
    out.in_state_ns = durations_.since(in.state >> 2);
    out.busy_ns = durations_.length(in.busy);
    out.max_poll_ns = durations_.length(in.max_poll);
    out.polls = in.polls;
    out.wakes = in.wakes;
    if (in.last_tid != 0) out.last_poll_tid = in.last_tid;
    const bool nothing_wakes_it =
        out.state == TaskState::kWaiting && in.references == segment::References::kNone;
    std::vector<Leaf> met;
    uint32_t met_in = 0, newest = 0;  // numbers of polls
    for (uint32_t i = raw.first_leaf; i != kNoLeaf; i = leaves[i].next) {
      const segment::Leaf& leaf = leaves[i].leaf;
      if ((leaf.flags & segment::kMet) != 0) {
        if (options_.repoll) add_leaf(in, leaf, out, met);
        met_in = std::max(met_in, leaf.poll);
        continue;
      }
      const bool is_gone = (leaf.flags & segment::kWakerGone) != 0;
      newest = std::max(newest, leaf.poll);
      if (!is_gone || (nothing_wakes_it && leaf.poll == in.polls)) add_leaf(in, leaf, out, out.leaves);
    }
    if (watcher && end_ && out.state == TaskState::kWaiting && !out.leaves.empty())
      watcher->due_in_ns = native_.due_in_ns(in.id, out.leaves.front().waiting_ns, newest == in.polls, *end_);
    if (watcher && options_.causes)
      native_.add_causes(
          in.id, [this](uint32_t number) { return stack(number); }, *watcher);
    if (watcher) out.watcher = std::make_unique<const Watcher>(std::move(*watcher));
    // A task that has told of a wait since then has moved on.
    if (newest <= met_in) merge_met(std::move(met), out.leaves, snapshot_.stacks);
    out.stuck =
        raw.settled && nothing_wakes_it &&
        std::all_of(out.leaves.begin(), out.leaves.end(), [](const Leaf& leaf) { return leaf.waker_gone; });
    // A thread that once waited in a block_on keeps its pseudo task, one known by its wakers alone may be
    // about to end, and a watcher that is not armed waits for nothing.
    const bool is_dispatched = out.kind == TaskKind::kWatcher && out.state == TaskState::kRunning;
    if (out.kind != TaskKind::kTask && out.leaves.empty() && !is_dispatched) return;
    snapshot_.tasks.push_back(std::move(out));
  }

  // Nothing waits in code that is not loaded any more: its end and the unloading lie between two of our
  // looks.
  bool is_unloaded(uint32_t stack) const {
    const auto view = reader_.stack(stack);
    return view && (view->flags & segment::kUnloaded) != 0;
  }

  void add_leaf(const segment::Task& task, const segment::Leaf& in, const Task& out,
                std::vector<Leaf>& leaves) {
    if (is_unloaded(in.stack)) return;
    Leaf leaf;
    leaf.stack = stack(in.stack);
    leaf.label = native_.label(in.flags);
    leaf.waiting_ns = durations_.since(in.since);
    // A leaf of the last poll that renewed none waits since that poll's end. The pseudo task of a block_on
    // shows no polls.
    const bool first_wait = in.since == in.registered && in.poll == task.polls && out.kind == TaskKind::kTask;
    // One that stays armed waits anew after each dispatch.
    if ((first_wait || out.kind == TaskKind::kWatcher) && out.state == TaskState::kWaiting)
      leaf.waiting_ns = std::min(leaf.waiting_ns, out.in_state_ns);
    // Armed in its own dispatch, which goes on.
    if (out.kind == TaskKind::kWatcher && out.state == TaskState::kRunning && in.poll == task.polls)
      leaf.waiting_ns = 0;
    leaf.registered = in.registered;
    leaf.own_waker = (in.flags & segment::kOwnWaker) != 0;
    leaf.exact_end = (in.flags & segment::kNoExactEnd) == 0;
    // A leaf that its task did not renew in its last poll may be a waker that outlived its await. A
    // combinator's waker is renewed only when the combinator polls that child. The polls of a block_on are
    // known by the wakes of its leaves, so a leaf without an exact end proves nothing there.
    const bool polls_are_seen = out.kind == TaskKind::kTask || leaf.exact_end;
    leaf.confirmed = !leaf.own_waker || (in.poll == task.polls && polls_are_seen);
    leaf.waker_gone = (in.flags & segment::kWakerGone) != 0;
    leaf.joins_address = in.joins;
    leaves.push_back(leaf);
  }

  void link_joins() {
    std::unordered_map<uint64_t, std::optional<uint64_t>> id_at;  // of the joined tasks only: they are few
    for (const Task& task : snapshot_.tasks)
      for (const Leaf& leaf : task.leaves)
        if (leaf.joins_address != 0) id_at.try_emplace(leaf.joins_address);
    if (id_at.empty()) return;
    for (const Task& task : snapshot_.tasks) {
      if (task.kind != TaskKind::kTask) continue;
      const auto joined = id_at.find(task.address);
      if (joined != id_at.end() && !joined->second) joined->second = task.id;
    }
    for (Task& task : snapshot_.tasks)
      for (Leaf& leaf : task.leaves)
        if (leaf.joins_address != 0) leaf.waits_for_task = id_at.at(leaf.joins_address);
  }

  void read_losses() {
    Lost& lost = snapshot_.lost;
    lost.leaves = reader_.counter(segment::kLostLeaves);
    lost.tasks = reader_.counter(segment::kLostTasks);
    lost.stacks = reader_.counter(segment::kLostStacks);
    lost.threads = reader_.counter(segment::kLostThreads);
    lost.unwind_failed = reader_.counter(segment::kUnwindFailed);
    lost.self_waking_stacks = reader_.counter(segment::kSelfWakingStacks);
    lost.tables_off = reader_.counter(segment::kTablesOff);
    lost.foreign_leaves = reader_.counter(segment::kForeignLeaves);
    lost.names = reader_.counter(segment::kLostNames);
    lost.watchers = reader_.counter(segment::kLostWatchers);
    lost.at_fork = reader_.counter(segment::kLostAtFork);
    if (header_.state == segment::AgentState::kOff)
      snapshot_.agent_off_reason = off_reason(header_.off_reason);
  }

  const SegmentFile& file_;
  const SegmentReader& reader_;
  const segment::Header header_;
  const ReadOptions options_;
  Durations durations_;
  std::optional<EndOfTime> end_;  // of durations, on each clock
  const bool in_abort_;
  Snapshot snapshot_;
  std::unordered_map<uint32_t, std::optional<uint32_t>> stack_numbers_;
  NativeReader native_{reader_, snapshot_};
};

}  // namespace

Result<SegmentSummary> read_summary(const std::string& path) {
  auto file = SegmentFile::open(path);
  if (!file) return tl::unexpected(file.error());
  const segment::Header header = file->reader().header();
  SegmentSummary summary;
  summary.pid = header.pid;
  summary.start_time = header.start_time;
  summary.boot_id.assign(header.boot_id, strnlen(header.boot_id, sizeof(header.boot_id)));
  summary.exe = file->reader().string(header.exe);
  summary.cmdline = split_arguments(file->reader().string(header.cmdline));
  summary.start_realtime_ns = static_cast<int64_t>(header.clock.realtime0);
  summary.exited = header.state == segment::AgentState::kExited;
  summary.detached =
      header.state == segment::AgentState::kOff && header.off_reason == segment::OffReason::kDetached;
  summary.aborted = ended_in_abort(file->reader(), ProcessState::kUnknown);
  summary.crashed = summary.aborted ||
                    (header.died_at_ns != 0 && how_it_ended(header.wait_status) == ProcessState::kCrashed);
  return summary;
}

Result<Snapshot> read_snapshot(const std::string& path, const ReadOptions& options) {
  auto file = SegmentFile::open(path);
  if (!file) return tl::unexpected(file.error());
  Snapshot snapshot = Builder(*file, options).build();
  // What was in between is of no use any more, and a report of a million tasks needs as much again.
  ::malloc_trim(0);
  return file->symbols(snapshot.modules.size()).map([&](std::vector<ModuleSymbols> symbols) {
    snapshot.symbols = std::move(symbols);
    return std::move(snapshot);
  });
}

}  // namespace asynctrace
