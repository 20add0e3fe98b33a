// Report: what a snapshot means, ready to be written as text or JSON: leaves with their kinds, tasks merged
// into groups, suspects, and what limits the answer. Holds strings as the target spells them; the renderers
// escape. Refers to the snapshot and the frame source it was built from; both must outlive it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/snapshot.hpp"
#include "cli/symbols/symbolizer.hpp"
#include "cli/tree/classify.hpp"
#include "cli/tree/source_paths.hpp"

namespace asynctrace {

// kUser: the user's own frames and the leaf in plain words. What is merged depends on it.
enum class FrameView { kUser, kAll };

struct EarlierDump;

struct ReportOptions {
  FrameView frames = FrameView::kUser;
  SourcePaths sources = {};
  uint64_t blocked_ns = 1'000'000'000;   // a poll of this length blocks its thread
  const EarlierDump* earlier = nullptr;  // of the same process, to tell what has not moved since
  bool may_stop = true;                  // a thread that runs, for its native stack
  bool causes = false;                   // Report::causes
};

struct ReportFrame {
  uint32_t source = 0;  // index into FrameSource::frames()
  FrameClass frame_class = FrameClass::kUser;
  std::string name;      // "async fn shop::checkout"
  std::string position;  // "src/cart.rs:88:14"; "" if unknown
  std::string file;      // where the reader finds it, see SourcePaths; "" if unknown
};

struct ReportStack {
  uint32_t source = 0;           // index into Snapshot::stacks
  std::vector<uint32_t> frames;  // outermost first, indexes into Report::frames
  LeafKind kind;
  bool has_user_frame = false;
  bool internal = false;  // nothing but runtime and standard library
};

// Why a leaf is not shown as a plain fact.
enum class LeafReason : uint8_t {
  kNone,
  kNotRenewed,       // not renewed in its task's last poll
  kOtherAwait,       // the async body it belongs to has since reached another await
  kStackLost,        // no room for its stack
  kStackIncomplete,  // the walk ended before the task's root
  kNoSymbols,        // the innermost function is unknown
  kUnknownKind,      // no row of the table of leaf kinds
  kNoExactEnd,       // the program holds the original waker
  kChildrenHidden,   // a combinator whose children are not observable
  kChildrenShown,    // a combinator whose children are leaves of this task
  kExecutor,         // the executor's wait for work, on the stack of a block_on
  kChildrenApart,    // a combinator whose children are known by their own wakers
  kWakerAlone,       // of a task that is known by its wakers alone
  kFromDebugInfo,    // found in the task's memory, not seen by the agent
  kWakerGone,        // its waker was dropped, and with it the last that could have woken the task
  kNotFollowed,      // the census could not follow its future; the kind says why
  kUnsureLink,       // some coroutine of its chain is likely awaited by the one above it, not certainly
  kUnverified,       // some coroutine of its chain may have been freed
  kMayRun,           // some thread may be executing a coroutine of its chain
  kArmingUnseen,     // of a watcher: see WatcherDoubt
  kCallsUnseen,
  kEndUnseen,
};
inline constexpr LeafReason kLastLeafReason = LeafReason::kEndUnseen;
std::string_view describe(LeafReason reason);

struct ReportLeaf {
  const Leaf* source = nullptr;  // in the snapshot
  Maybe<uint32_t> stack;         // index into Report::stacks
  bool confirmed = false;        // the task waits there now
  bool shown = false;            // stands in the text's tree
  LeafReason reason = LeafReason::kNone;

  // It does not join the task that it waits for, but waits for what that holds.
  bool is_held() const { return source->waits_for_task && source->joins_address == 0; }
};

// Link of the chain that led to the arming of a watcher, or to the spawning of a task.
struct ReportCause {
  uint64_t task = 0;     // id, 0: not known
  std::string function;  // that ran; "" if unknown
  Maybe<uint32_t>
      stack;  // index into Report::stacks: where that had been armed; first of a spawned task where
  CauseState state = CauseState::kKnown;
};
struct CauseChain {
  std::vector<ReportCause> links;  // nearest first
  bool more = false;               // than are known here
  uint32_t drawn = 0;              // index into Report::drawn_causes: chains of other tasks may read the same
};

enum class ReportTaskKind : uint8_t { kTask, kBlockOn, kBlocking, kWorker };

struct ReportTask {
  const Task* task = nullptr;  // in the snapshot
  ReportTaskKind kind = ReportTaskKind::kTask;
  bool unmoved = false;                // not polled since the earlier dump, where there is one
  Maybe<uint32_t> type;                // index into Report::types; of a watcher the function that it calls
  Maybe<uint32_t> running_stack;       // native; index into Report::stacks
  Maybe<uint32_t> spawn_stack;         // index into Report::stacks: where it was spawned
  Maybe<uint32_t> causes;              // index into Report::causes, only where they were asked for
  std::span<const ReportLeaf> leaves;  // in Report::leaves
};

enum class GroupClass : uint8_t { kInside, kOutside, kRunning };

// Durations over several tasks, in ns.
struct Spread {
  uint64_t min_ns = 0, median_ns = 0, max_ns = 0;
  bool known = true;  // false: of tasks that nobody observed
};

inline constexpr size_t kNamedResources = 3;

// One line of a drawn trace.
struct Row {
  std::string drawing;            // "│  └╼ "
  size_t depth = 0;               // in its tree; a root's is 0
  std::string text;               // a function, or a leaf in plain words
  std::string position;           // "" for a leaf, and where unknown
  std::optional<uint32_t> frame;  // index into Report::frames, of one of those it stands for
  bool is_user = false;
  bool is_leaf = false;
  size_t per_task = 1;  // equal leaves of one task that this row stands for
  Spread waiting;       // of a leaf
  // Of a leaf, what it waits for: "fd 7: pipe". More than kNamedResources: too many, not all are here.
  std::vector<std::string> resources = {};
};

// Tasks whose traces look the same.
struct Group {
  GroupClass group_class = GroupClass::kInside;
  std::vector<uint64_t> tasks;  // ids, ascending
  Spread waiting;
  std::vector<uint32_t> stacks;  // distinct, of the shown leaves
  std::vector<Row> rows;
  size_t leaf_rows = 0;
  size_t unmoved = 0;  // how many of the tasks are
};

// Evidence only, never age alone.
struct Suspect {
  std::string_view kind;  // "no_waker", "deadlock", "blocked_worker", "ready_not_served", ...
  std::string evidence;
  Group group;
};

// What the snapshot's crash has to show.
struct ReportCrash {
  std::optional<uint32_t> stack;  // index into Report::stacks: the task's part of the native stack
  Group group;
};

// Threads of a core file whose native stacks read the same.
struct ThreadGroup {
  std::vector<const Thread*> threads;
  Group group;  // of no task: the rows
};

struct Diagnostic {
  std::string_view code;
  std::string message;
  std::string remedy;  // may be empty
};

struct WorkerCounts {
  size_t total = 0, parked = 0;
  std::vector<uint64_t> polling_ns;  // how long each polling worker is in its poll, longest first
};

struct ReportRuntime {
  RuntimeId id = RuntimeId::kUnknown;
  std::string name;
  std::string version;  // from the crate's path in debug info; "" if unknown
  size_t tasks = 0;     // workers not counted
  WorkerCounts workers;
};
std::string_view name(RuntimeId id);
// As its program calls it, where it is one of the native API; of a watcher the library.
std::string_view runtime_name(const Task& task);

// Tasks that are not workers. A scheduled task without a leaf is neither inside nor outside.
struct TaskCounts {
  size_t total = 0, inside = 0, outside = 0, running = 0, scheduled = 0;
};

struct Report {
  Report() = default;
  Report(Report&&) = default;  // a copy's tasks would refer to leaves of the original
  Report& operator=(Report&&) = default;

  const Snapshot* snapshot = nullptr;
  const FrameSource* symbols = nullptr;
  std::string source_root;          // of the options
  std::vector<ReportFrame> frames;  // in order of first use
  std::vector<ReportStack> stacks;
  std::vector<std::string> types;
  std::vector<ReportTask> tasks;   // by id
  std::vector<ReportLeaf> leaves;  // of one task after the other
  std::vector<ReportRuntime> runtimes;
  std::vector<CauseChain> causes;
  std::vector<std::vector<Row>> drawn_causes;
  TaskCounts counts;
  std::optional<ReportCrash> crash;
  // Of a core file alone: index into stacks for each thread of the snapshot that has one.
  std::vector<std::optional<uint32_t>> thread_stacks;
  std::vector<ThreadGroup> threads;
  std::vector<Suspect> suspects;
  std::vector<Group> groups;                 // inside oldest first, outside most tasks first, running
  std::optional<uint64_t> since_earlier_ns;  // age of the earlier dump that tasks were compared with
  size_t folded_leaves = 0;                  // executor-internal, not shown as a trace
  std::vector<Diagnostic> diagnostics;
};

Report build_report(const Snapshot& snapshot, FrameSource& symbols, const ReportOptions& options = {});

}  // namespace asynctrace
