// Snapshot: what one process looked like when it was read, as plain owned data. Built from a segment by
// read_snapshot(); tests build it by hand. Holds addresses, and names only where they were packed with them.
// Durations are nanoseconds up to the moment of capture (or of death, see `durations_at_least`).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/maybe.hpp"
#include "cli/symbols/symbol_table.hpp"
#include "common/segment.hpp"

namespace asynctrace {

enum class ProcessState { kRunning, kExited, kKilled, kCrashed, kExeced, kUnknown };

struct ProcessInfo {
  uint32_t pid = 0;
  std::string exe;
  std::vector<std::string> cmdline;
  int64_t start_realtime_ns = 0;  // since 1970, 0: unknown
  int64_t end_realtime_ns = 0;    // the same; 0: it lives, or nobody saw when it ended
  ProcessState state = ProcessState::kUnknown;
};

struct Module {
  std::string path;
  std::vector<uint8_t> build_id;  // empty: has none
  uint64_t bias = 0;              // run-time address = file address + bias
  uint64_t start = 0;             // run-time range
  uint64_t end = 0;
  bool is_plain = false;  // nothing but what it calls of libc tells what it waits for
};

// Of code: return addresses into it are above `start`, up to `end`.
struct ReturnRange {
  uint64_t start = 0;
  uint64_t end = 0;
  bool has_return(uint64_t pc) const { return pc > start && pc <= end; }
};

// One distinct stack: run-time return addresses, innermost first.
struct Stack {
  std::vector<uint64_t> pcs;
  bool truncated = false;
  bool incomplete = false;
  bool no_root = false;
};

// Of a lock whose waiter's program has no types: the one reason that a user can do something about.
inline constexpr char kNeedsDebugInfo[] = "holder unknown: needs full debug info";

// What a leaf of the native API says that it waits for.
struct Label {
  std::string text;
  uint32_t leaf_class = 0;   // asynctrace_leaf_class of common/include/asynctrace/abi.h
  uint32_t poll_events = 0;  // of poll(2), that a watcher of a descriptor waits for; 0: not known
};

// There may be millions, each in memory of its own: eight bytes more would take sixteen.
struct Leaf {
  Maybe<uint32_t> stack;  // index into Snapshot::stacks
  Maybe<uint32_t> label;  // index into Snapshot::labels; nothing: its functions tell
  uint64_t waiting_ns = 0;
  uint64_t registered = 0;           // clock ticks; orders the leaves of one task
  bool confirmed : 1 = true;         // renewed in the task's last poll, or ended exactly
  bool own_waker : 1 = true;         // false: a combinator's waker, say FuturesUnordered's
  bool exact_end : 1 = true;         // false: the program holds the original waker
  bool waker_gone : 1 = false;       // its waker was dropped, the last that could have woken the task
  bool from_debug_info : 1 = false;  // found in the task's memory, not seen by the agent
  bool met : 1 = false;              // a poll that --repoll asked for has met it
  // Of a chain of coroutines: some link of it is likely, not certain; some frame may have been freed; some
  // thread may be executing one that seems suspended.
  bool unsure_link : 1 = false;
  bool unverified : 1 = false;
  bool may_run : 1 = false;
  uint64_t joins_address = 0;  // 0: not a join
  // Id of the task that has to go on first, where it is known: of the joined one; where this is no join, of
  // the one that holds the lock.
  Maybe<uint64_t> waits_for_task;
  const char* holder_unknown = nullptr;  // of a lock: why waits_for_task does not tell; static text
};

using segment::RuntimeId;
using segment::TaskKind;
using segment::TaskState;

// Of a task that is a chain of C++20 coroutines.
inline bool is_coroutine(RuntimeId runtime) {
  return runtime == RuntimeId::kCoroutine || runtime == RuntimeId::kAsio;
}

// What a task of the native API has told of itself.
struct NativeTask {
  std::string runtime;
  std::string name;                     // "": none; a long one is cut and ends in an ellipsis
  std::optional<uint32_t> spawn_stack;  // index into Snapshot::stacks
  uint64_t woken_by = 0;                // id of the task that woke it last; 0: none did
};

// In whose poll something was armed or spawned.
enum class CauseState : uint8_t {
  kKnown,
  kGone,        // it has ended: what caused it in turn is not known any more
  kArmedAgain,  // it was armed anew since: the same
  kUnknown,     // how it had been armed is not known
};
struct Cause {
  uint64_t task = 0;                 // id; 0: not known, only where
  std::optional<uint32_t> callback;  // index into Snapshot::stacks: of a watcher, the function that ran
  std::optional<uint32_t> stack;     // the same: where it had been armed; without a task, where that was
  CauseState state = CauseState::kKnown;
};
inline constexpr size_t kMaxCauses = 8;

// What is not known of a watcher that waits.
enum class WatcherDoubt : uint8_t {
  kNone,
  kArmingUnseen,  // found in the kernel's list: who armed it, and when
  kCallsUnseen,   // the program has changed its callback: how often it was called since
  kEndUnseen,     // whether it still waits
};

// A watcher of a poll loop, or such a loop itself.
struct Watcher {
  std::string library;
  std::optional<uint32_t>
      callback;         // index into Snapshot::stacks: the function that it calls, if it calls any
  int descriptor = -1;  // of a signal's watcher its number; -1: none, or not known
  bool is_loop = false;
  // While it waits: until its library is to call it, at the latest; negative: it should have.
  std::optional<int64_t> due_in_ns = {};
  // What led to its last arming, nearest first; only where it was asked for.
  std::vector<Cause> causes = {};
  bool more_causes = false;  // than kMaxCauses
  WatcherDoubt doubt = WatcherDoubt::kNone;
  segment::WatcherCheck check = segment::WatcherCheck::kNothing;
  uint32_t check_number = 0;  // as segment::Watcher has them
  uint64_t check_type = 0;
};

// Where a C++20 coroutine is, as its frame in memory tells.
enum class CoroutineState : uint8_t {
  kSuspended,
  kNotStarted,
  kEnded,
  kRunning,
  kSuspendedOrRunning,  // what a thread that may execute it does could not be seen
};

// How it is known who awaits a coroutine.
enum class CoroutineLink : uint8_t {
  kNone,         // nobody that was found
  kAsio,         // the layout of the promises of Asio and Boost.Asio
  kFolly,        // the async stack frames in folly's promises
  kPromiseType,  // debug info: a member of its promise refers to the awaiting one
  kCallGraph,    // its promise refers to one whose code calls it, or whose frame holds its own
};

struct Coroutine {
  uint64_t task = 0;      // id of the task that its chain makes
  uint64_t address = 0;   // of its frame
  uint32_t function = 0;  // index into Snapshot::coroutine_functions
  CoroutineState state = CoroutineState::kSuspended;
  CoroutineLink link = CoroutineLink::kNone;
  bool sure_link = true;
  bool verified = true;     // false: it was not checked that the memory of its frame is in use
  uint64_t awaited_by = 0;  // address of a frame; 0: of none
};

// There may be millions; the order of its fields leaves no gaps.
struct Task {
  uint64_t id = 0;
  uint64_t address = 0;
  RuntimeId runtime = RuntimeId::kUnknown;
  TaskState state = TaskState::kWaiting;
  TaskKind kind = TaskKind::kTask;
  bool nests_polls = false;  // a worker loop, or a runtime inside a task
  bool stuck = false;        // a fact: nothing can wake it
  bool torn = false;         // it kept changing while it was read: leaves may be missing
  // Found in memory, not seen by the agent: its times, polls and wakes are not known.
  bool from_census = false;
  // Such a task of tokio's that is in no runtime's list: a closure that may block, or a worker's loop.
  bool is_blocking = false;
  Maybe<uint32_t> last_poll_tid;
  Maybe<uint64_t> native_id = {};  // the number that its runtime gave it
  uint64_t poll_function = 0;      // run-time address of its poll function, 0: unknown
  uint64_t created_ns = 0;         // how long ago
  uint64_t in_state_ns = 0;
  uint64_t busy_ns = 0;
  uint64_t max_poll_ns = 0;
  uint32_t polls = 0;
  uint32_t wakes = 0;
  std::unique_ptr<const NativeTask> native;  // null: it has not; most have not, so that this costs a pointer
  std::unique_ptr<const Watcher> watcher;    // of kind kWatcher
  std::vector<Leaf> leaves;
};

enum class ThreadState { kPolling, kParked, kOther };

struct Thread {
  uint32_t tid = 0;
  std::string name;
  ThreadState state = ThreadState::kOther;
  uint64_t in_state_ns = 0;            // not of kOther
  std::optional<uint64_t> task;        // innermost task being polled
  std::optional<uint64_t> outer_task;  // outermost one: the worker loop
  // Where it runs, index into Snapshot::stacks; only of threads that someone asked for.
  std::optional<uint32_t> native_stack = {};
  // Of a core file: what of it lies inside the poll of `task`.
  std::optional<uint32_t> poll_stack = {};
  std::string no_native_stack = {};  // why there is none
  uint64_t stopped_ns = 0;           // for how long it was held to read it
};

// A signal that stands for a fault ended the process, or it called abort().
struct Crash {
  int signal = 0;
  std::optional<uint32_t> tid;   // unset: nobody saw which thread it was
  std::optional<uint64_t> task;  // the innermost one that it was polling
  uint64_t in_poll_ns = 0;
  std::optional<uint32_t> stack;  // the thread's native stack, the agent's frames included
  std::string no_stack_reason;    // "" where there is one
};

struct Lost {
  uint64_t leaves = 0, tasks = 0, stacks = 0, threads = 0;
  uint64_t unwind_failed = 0, self_waking_stacks = 0, tables_off = 0, foreign_leaves = 0, names = 0;
  uint64_t watchers = 0, at_fork = 0;
};

// Who saw the tasks: the agent, or whoever looked through the process's memory.
enum class DumpSource { kAgent, kCensus, kBoth };

// What came of --repoll. Runtimes that were not asked, for they cannot answer, do not count.
struct Repoll {
  size_t runtimes = 0,
         silent_runtimes = 0;  // silent: their loops did not turn, or not to the end of the answer
  uint64_t tasks = 0;          // polled
  uint64_t workers = 0, missing_workers = 0;  // of a runtime some of whose workers did not come
};

// What the thread of a poll loop did all the time that one looked.
enum class LoopState : uint8_t {
  kSleeps,
  kTurns,
  kInCallback,
  kAway,  // of a loop that the program makes itself: between two waits
};

// A descriptor that was ready all that time, or a time that had come, while the watcher was not called.
struct Unserved {
  uint64_t task = 0;      // id, of the watcher
  bool is_timer = false;  // its time had come
  uint64_t ready_ns = 0;  // between the first and the last look; for how long it is late
  size_t looks = 0;
  std::string seen_by;  // "poll(2)"
  uint32_t tid = 0;     // of the thread that runs its loop
  LoopState loop = LoopState::kSleeps;
  uint64_t turns = 0;     // of the loop
  uint64_t callback = 0;  // id of the task in whose callback it is
};

struct Snapshot {
  ProcessInfo process;
  DumpSource source = DumpSource::kAgent;
  int64_t captured_realtime_ns = 0;
  uint64_t capture_ns = 0;              // how long reading took: a dump is not one instant
  bool durations_at_least = false;      // dead process whose time of death nobody saw
  std::string agent_off_reason;         // empty: the agent is tracing
  std::optional<uint64_t> attached_ns;  // how long ago the agent came into the running process
  std::vector<Module> modules;
  std::vector<ModuleSymbols> symbols;  // of a packed file, one for each module; else none
  ReturnRange agent;
  // Parts of it: the frames inside of their innermost one are those of one poll.
  ReturnRange poll_hook;
  ReturnRange dispatch_hook;
  std::vector<Stack> stacks;
  std::vector<Label> labels;
  std::vector<Thread> threads;
  std::vector<Task> tasks;            // by id
  std::vector<Coroutine> coroutines;  // by task and address
  std::vector<std::string> coroutine_functions;
  // How long tasks that wait for a time have yet to wait, by id; negative: it is over. Of Asio's, where known.
  std::map<uint64_t, int64_t> due_in_ns;
  std::string unknown_running;  // why it is not known of some coroutines whether they run
  std::optional<Crash> crash;
  std::optional<Repoll> repoll;  // only where it was asked for
  // What the descriptors of watchers are, by number: "tcp 127.0.0.1:80 <- 127.0.0.1:4711".
  std::map<int, std::string> descriptors;
  std::string no_descriptors;  // why it is not known what they are
  std::vector<Unserved> unserved;
  Lost lost;
  size_t unknown_layouts = 0;  // types of tasks that the census could not look for
  bool cut_short = false;      // of a core file: memory is missing
};

// Index of the module that has this address.
inline std::optional<uint32_t> module_at(uint64_t address, const Snapshot& snapshot) {
  for (size_t i = 0; i < snapshot.modules.size(); ++i)
    if (address >= snapshot.modules[i].start && address < snapshot.modules[i].end)
      return static_cast<uint32_t>(i);
  return std::nullopt;
}

}  // namespace asynctrace
