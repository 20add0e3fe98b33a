// The segment: one file per traced process, written by the agent inside it, read by the CLI from outside.
// This header is the only place that knows its layout. Plain data, no functions that allocate; the agent
// includes it in code that may run in any thread and inside a signal handler.
//
//   offset 0                                                              Header::file_size
//   +------+-------+-------+-------+-------+-----+------+------+---+------+------+--------+
//   |Header|strings|modules|pollers|threads|tasks|leaves|stacks|pcs|labels|native|watchers|
//   |      |       |       |       |       |     |      |      |   |      |tasks |        |
//   +------+-------+-------+-------+-------+-----+------+------+---+------+------+--------+
//     4 KiB    each section starts on a page; an array of `capacity` items of `item_size` bytes
//
// The file is created sparse at its final size; pages are reserved before they are written, so that a full
// file system is counted as a loss and never becomes a signal.
//
// Rules
//  1. Fixed-width fields, little endian, offsets from the start of the file, never pointers. A section's
//     `used` says how many items were ever handed out; items past it are all zero.
//  2. The reader believes nothing: it copies, checks, then uses. The file is consistent after SIGKILL at any
//     instruction because every multi-word item is guarded as its struct says, and single words are atomic.
//  3. New fields take reserved bytes or the end of an item; the reader uses `item_size` as the stride and
//     treats what an older writer did not write as zero. A change that breaks this raises kVersion.
//     Every size and offset is asserted below, and test/unit/segment_test.cpp pins the bytes.
//  4. Times are in ticks of Header::clock. Task ids start at 1 and are never reused within a process.
//  5. Each release store names its acquire: see segment_reader.cpp for the other half.
#pragma once

#include <cstddef>
#include <cstdint>

namespace asynctrace::segment {

inline constexpr char kMagic[8] = {'A', 'T', 'R', 'A', 'C', 'E', '\n', '\x1a'};
inline constexpr uint32_t kVersion = 3;
inline constexpr uint64_t kPage = 4096;
inline constexpr const char* kFileSuffix = ".atrace";
inline constexpr const char* kAgentLibrary = "libasynctrace-agent.so";

// Where the pieces are. `used` is a high-water mark, stored with release after the item is complete enough
// to be read (items carry their own guard from then on).
struct Section {
  uint64_t offset;
  uint32_t item_size;
  uint32_t capacity;
  uint32_t used;
  uint32_t reserved;
};
static_assert(sizeof(Section) == 24);

enum SectionId : uint32_t {
  kStrings,  // bytes; other items refer to them as {offset, length} inside this section
  kModules,
  kPollers,
  kThreads,
  kTasks,
  kLeaves,
  kStacks,
  kPcs,  // uint64_t return addresses, innermost first
  kLabels,
  kNativeTasks,
  kWatchers,
  kSectionCount,
};

struct StringRef {
  uint32_t offset;
  uint32_t length;
};

// What one tick is. `ticks1`/`ns1` is a later reading of both clocks, guarded by `seq` (odd while written);
// the pair (0, 1) gives the rate. For kMonotonic ticks are CLOCK_MONOTONIC nanoseconds.
enum class ClockKind : uint32_t { kMonotonic = 0, kTsc = 1 };
struct Clock {
  ClockKind kind;
  uint32_t seq;
  uint64_t ticks0;
  uint64_t ns0;  // CLOCK_MONOTONIC at ticks0
  uint64_t ticks1;
  uint64_t ns1;
  uint64_t realtime0;  // CLOCK_REALTIME in ns at ticks0
};
static_assert(sizeof(Clock) == 48);

// What could not be recorded, and why. Each is a relaxed atomic counter.
enum Counter : uint32_t {
  kLostLeaves,        // no leaf record left: the original waker was handed back
  kLostTasks,         // polls of tasks for which no record was left
  kLostStacks,        // no room for a new stack
  kLostThreads,       // no thread record left
  kUnwindFailed,      // stack walk ended before the root
  kUnmemoizedWalks,   // captures that had to unwind because their frames cannot be verified
  kSelfWakingStacks,  // clone stacks handed the original waker, because the program wakes what it replaces
  kTablesOff,         // waker tables switched off: their clone returned an unknown pair
  kForeignLeaves,     // wakers of executors that are not known, left alone
  kLostNames,         // tasks of the native API whose name and origin found no room
  kLostWatchers,      // watchers of poll loops for which no record was left
  kLostAtFork,        // leaves that the parent had changed before this forked process could copy them
  kCounterCount = 16,
};

enum class AgentState : uint32_t {
  kStarting = 0,
  kTracing = 1,
  kExited = 2,  // the process ran its exit handlers
  kOff = 3,     // the agent turned itself off; see off_reason
};

enum class OffReason : uint32_t {
  kNone = 0,
  kNoUnwinder = 1,  // libunwind could not be loaded
  kNoRoom = 2,      // the directory was full at start
  kInternal = 3,    // a broken invariant
  kDetached = 4,    // `asynctrace detach`; attach makes it kTracing again
};

// The thread that brought the process down, where someone saw its stack: the agent for abort(), before the
// real one runs; `asynctrace run` for any other signal, once it has reaped the process. The agent stores
// `tid` last, with release. A program may survive abort() by leaving its handler with longjmp: what the agent
// wrote holds as long as the thread's record still tells of the same poll.
enum class CrashSource : uint32_t {
  kNone = 0,
  kAbort = 1,   // the agent, called in place of abort()
  kTraced = 2,  // run --crash-stack, at the delivery of the signal
  kCore = 3,    // run, from the core file
  // Why run has seen no stack; `tid` is 0.
  kNoCore = 4,      // the kernel wrote none: a size limit, or a program that may not be dumped
  kCorePiped = 5,   // core_pattern hands it to a program
  kCoreGone = 6,    // not where core_pattern says
  kCoreBroken = 7,  // cut short, or not to be understood
};
inline constexpr uint32_t kMaxCrashFrames = 256;
struct Crash {
  uint32_t tid;  // 0: nobody saw it
  uint32_t signal;
  CrashSource source;
  uint32_t count;  // of pcs; 0: the stack could not be walked, kMaxCrashFrames: there may be more
  // By kAbort only.
  uint64_t at;          // ticks
  uint64_t task;        // as in the thread's record
  uint64_t poll_since;  // the same
  // Innermost first, as return addresses: the instruction that is meant is the one before.
  uint64_t pcs[kMaxCrashFrames];
};
static_assert(sizeof(Crash) == 40 + 8 * kMaxCrashFrames);

// `asynctrace dump --repoll`: runtimes of the native API poll their tasks, and what these polls meet becomes
// leaves with kMet. A request is a number that the CLI writes, each one more than the last; with pwrite(2),
// so that a runtime that watches the file (inotify) wakes up. The agent compares `request` and
// `done` and nothing else, so that the worst they can do is to make it poll.
struct RepollRuntime {
  uint32_t open;      // 1: a runtime that answers
  uint32_t seen;      // the last request that it has noticed
  uint32_t answered;  // the last one that it has answered; stored last with release
  uint32_t tasks;     // polled for that
  uint32_t workers;
  uint32_t missing_workers;  // did not come in time; then no task was polled
};
static_assert(sizeof(RepollRuntime) == 24);
inline constexpr uint32_t kMaxRepollRuntimes = 8;
struct Repoll {
  uint32_t request;
  uint32_t done;  // nobody waits for this one's answer any more, and its leaves may go
  RepollRuntime runtimes[kMaxRepollRuntimes];
};
static_assert(sizeof(Repoll) == 200);

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t header_size;
  uint64_t file_size;
  uint32_t pid;  // as the process sees itself
  AgentState state;
  OffReason off_reason;
  uint32_t ppid;
  uint64_t start_time;  // clock ticks since boot, field 22 of /proc/PID/stat: with pid it names the process
  char boot_id[40];     // text, zero-terminated
  StringRef exe;
  StringRef cmdline;  // arguments, each zero-terminated
  StringRef agent_version;
  Clock clock;
  uint64_t last_event;  // ticks of a recent event, updated when a thread parks; bounds the time of death
  Section sections[kSectionCount];
  uint64_t counters[kCounterCount];
  uint64_t next_task_id;
  // Written by `asynctrace run` once it has reaped the process: CLOCK_MONOTONIC and the status of waitpid(2).
  uint64_t died_at_ns;  // 0: nobody saw it
  uint32_t wait_status;
  uint32_t reserved;
  Crash crash;
  // Code of the agent's poll hook: a native stack holds a return address in (start, end] for each poll that
  // is in progress. 0: unknown.
  uint64_t poll_hook_start;
  uint64_t poll_hook_end;
  // The same of the hook through which poll loops call their watchers.
  uint64_t dispatch_hook_start;
  uint64_t dispatch_hook_end;
  Repoll repoll;
  // Ticks. Tasks that have not been polled since are not recorded. 0: the agent was there from the start.
  uint64_t attached_at;
};
static_assert(sizeof(Header) <= kPage);
static_assert(offsetof(Header, clock) == 112);
static_assert(offsetof(Header, sections) == 168);
static_assert(offsetof(Header, counters) == 432);
static_assert(offsetof(Header, crash) == 584);
static_assert(offsetof(Header, repoll) == 2704);

// A loaded ELF file. `end` is stored last with release; 0: not complete.
// kNone: nothing but what it calls of libc tells what it waits for. kOwn: it has a runtime or a poll loop
// that the agent knows.
enum class ModuleLoop : uint32_t { kUnknown = 0, kNone = 1, kOwn = 2 };
struct Module {
  uint64_t bias;   // run-time address = address in the file + bias
  uint64_t start;  // first and one-past-last run-time address of its segments
  uint64_t end;
  StringRef path;
  uint32_t build_id_size;  // 0: has none
  uint8_t build_id[32];
  uint32_t unloaded;  // 1: not loaded now, and another one may lie at its addresses
  ModuleLoop loop = ModuleLoop::kUnknown;
  uint32_t reserved = 0;
};
static_assert(sizeof(Module) == 80);

// A task-poll function found in the program: `address` is the original function (for tokio
// `tokio::runtime::task::raw::poll::<T, S>`), whose name tells the future's type and the scheduler. kOther
// has none: its tasks are known by their wakers alone. kNative has none either: its tasks tell of themselves.
// Nor has kLoop: what its tasks call stands in kWatchers. kCoroutine and kAsio are never in a file: the CLI
// finds such tasks in memory.
enum class RuntimeId : uint32_t {
  kUnknown = 0,
  kTokio = 1,
  kAsyncTask = 2,
  kOther = 3,
  kNative = 4,
  kLoop = 5,
  kCoroutine = 6,
  kAsio = 7
};
struct Poller {
  uint64_t address;
  RuntimeId runtime;
  uint32_t reserved;
};
static_assert(sizeof(Poller) == 16);

// One thread that ran a hook. Each field is atomic by itself. `tid` 0: free.
enum class ThreadState : uint32_t { kOther = 0, kParked = 1 };  // parked: inside the poll loop's system call
struct Thread {
  uint32_t tid;
  ThreadState state;
  uint64_t state_since;  // of kOther: when it last parked
  uint64_t parks;        // turns of the poll loop
  uint64_t task;         // id of the innermost task being polled here, 0: none
  uint64_t outer_task;   // id of the outermost one (a worker loop is itself a task of tokio), 0: none
  uint64_t poll_since;   // when the innermost poll began
  char name[16];         // as of its first hook
};
static_assert(sizeof(Thread) == 64);

// One task. A slot is free while `id` is 0; `id` is stored last with release, and set to 0 first.
//
//            first poll             poll returns Pending
//   (free) -------------> kRunning ----------------------> kWaiting
//                            ^  \                              |
//                  next poll |   `--> kScheduled <-------------'
//                            `-------------'            a waker is woken
//
// `state` packs since << 2 | TaskState into one word, so that a transition is one atomic store (or
// compare-and-swap) and its time always belongs to it.
enum class TaskState : uint8_t { kNone = 0, kRunning = 1, kWaiting = 2, kScheduled = 3 };
enum class TaskKind : uint8_t {
  kTask = 0,     // polled through a task vtable
  kBlockOn = 1,  // a future that a thread polls itself: `address` is the thread id
  // Whoever is woken by the wakers with one data pointer, which is `address`: a task of an executor that is
  // not known, a block_on, or a future that a combinator gave a waker of its own. It lasts as long as a leaf
  // of its.
  kWaker = 2,
  // A watcher of a poll loop, or such a loop itself: see Watcher. It waits while it has a leaf, that is,
  // while it is armed; a poll is a dispatch of its callback.
  kWatcher = 3,
};
enum TaskFlags : uint8_t {
  kNestsPolls =
      1,  // polls of other tasks happened inside one of its polls: a worker loop or a nested runtime
};
// Who else refers to a task than its scheduler and its JoinHandle, as of the end of its last poll or of the
// last waker seen dropped since. kNone in a waiting task: nothing can wake it. kSome: wakers seen, unseen
// ones or an AbortHandle, so never a verdict.
enum class References : uint8_t { kUnknown = 0, kNone = 1, kSome = 2 };
inline constexpr uint16_t kNoPoller = 0xffff;
struct Task {
  uint64_t id;
  uint64_t address;  // of the task's header: the data pointer of its wakers
  uint64_t state;
  uint64_t created;  // first poll seen
  // Statistics without a lock: a poll that ends while the next one runs on another thread can be left out.
  uint64_t busy;
  uint64_t max_poll;
  uint32_t polls;  // the number of the current or last poll; the first is 1
  uint32_t wakes;
  uint32_t last_tid;
  uint16_t poller;         // index into kPollers
  uint8_t kind_and_flags;  // TaskKind << 4 | TaskFlags
  References references;
};
static_assert(sizeof(Task) == 64, "one cache line: neighbours are polled on other threads");

// One leaf: a waker that was cloned inside a poll and is alive, hence a place where a task waits.
// `seq` & 3: see LeafState; the rest counts generations. The writer sets kWriting, the fields, then kLive
// with release; the end is one release store of kFree. A reader takes `seq` before and after its copy.
enum LeafState : uint32_t { kLeafFree = 0, kLeafWriting = 1, kLeafLive = 2 };
enum LeafFlags : uint32_t {
  kOwnWaker = 1,    // the task's own waker, renewed on every poll (else: one made by a combinator)
  kNoExactEnd = 2,  // the program holds the original waker: when this leaf ends is not seen
  // Where the waker was cloned that could have been the last to wake the task: it was dropped, not woken.
  // Means something while the task waits after that poll with References::kNone.
  kWakerGone = 4,
  kMet = 8,  // not a wait that the task told of, but one that a poll on request has met: see Repoll
};
// A leaf of the native API names its kind: label number + 1 in the upper half of `flags`.
inline constexpr uint32_t kLeafLabelShift = 16;
struct Leaf {
  uint32_t seq;
  uint32_t flags;
  uint64_t task;        // id
  uint32_t stack;       // index into kStacks, kNoStack: none
  uint32_t poll;        // number of the task's poll in which it was registered
  uint64_t registered;  // orders the leaves of one poll: the poll's begin, counted up by one for each
  uint64_t since;  // waiting since: of the leaf it renewed in place; `registered`: since the end of its poll
  uint64_t joins;  // header address of the task whose end it waits for, 0: not a join
};
static_assert(sizeof(Leaf) == 48);
inline constexpr uint32_t kNoStack = 0xffffffff;

// One distinct stack. `count` is stored last with release; 0: not complete.
enum StackFlags : uint16_t {
  kTruncated = 1,   // more frames than kMaxFrames
  kIncomplete = 2,  // the walk ended before the root
  kNoRoot = 4,      // captured outside any task poll: reaches to the start of the thread
  kUnloaded = 8,    // some of its code is not loaded any more
};
inline constexpr uint32_t kMaxFrames = 512;
struct Stack {
  uint32_t first_pc;  // index into kPcs
  uint16_t count;
  uint16_t flags;
};
static_assert(sizeof(Stack) == 8);

// A word that a program uses again and again: what a leaf waits for, what a runtime is called. Complete
// before anything refers to it; no text: not written.
struct Label {
  StringRef text;
  uint32_t leaf_class;   // asynctrace_leaf_class of common/include/asynctrace.h
  uint32_t poll_events;  // of poll(2), that it means on a watcher's descriptor; 0: not known
};
static_assert(sizeof(Label) == 16);

// What the native API tells of a task beyond kTasks. A slot is free while `task` is 0; `task` is stored last
// with release, and set to 0 first.
inline constexpr uint16_t kNoLabel = 0xffff;
struct NativeTask {
  uint64_t task;         // id
  uint64_t woken_by;     // id of the task in whose poll it was last woken, 0: from outside any
  uint64_t spawn_site;   // a return address, 0: unknown
  uint16_t runtime;      // label of the runtime's name
  uint16_t name_length;  // of the whole name, 0: none
  char name[36];         // its beginning
};
static_assert(sizeof(NativeTask) == 64);

// What is known of a task of kind kWatcher beyond kTasks; Task::address is the watcher as the library knows
// it. A slot is free while `task` is 0; `task` is stored last with release, and set to 0 first.
//
// `due` says by when its library is to call it, at the latest, on the clock that `due_clock` tells; written
// between due_clock 0 and, with release, what it is from then on. kSinceArmed: milliseconds; the lower half
// counts from its arming, the upper half from the end of each dispatch that came after. Else microseconds.
//
// The rest tells of its last arming, and of the cause: the task in whose poll that was, mostly the watcher
// whose callback ran. Guarded by `arming`, which is odd while it is written and even, with release, after. A
// cause whose record has the same `arming` as `cause_arming` tells what caused it in turn; any other one was
// armed again since.
// What the agent cannot see of a watcher lies in the program's memory, at Task::address, where a reader of
// the living process finds it.
enum class WatcherCheck : uint16_t {
  kNothing = 0,
  kCallback = 1,  // `number` bytes behind it stands a function of the agent's, or else another callback
  // A GSource whose end is not seen: its GSourceFuncs have the address `type`, and its id is `number`.
  kSource = 2,
};
enum class DueClock : uint16_t {
  kNone = 0,  // never, or not known
  kSinceArmed = 1,
  kMonotonic = 2,
  kRealtime = 3,
  kBoottime = 4,
};
inline constexpr uint32_t kNeverDue = UINT32_MAX;  // of either half
inline constexpr int32_t kNoDescriptor = -2;       // nor a callback, and yet it is no loop
struct Watcher {
  uint64_t task;       // id
  uint64_t callback;   // the program's function; 0: none. The task of a loop has no descriptor either
  int32_t descriptor;  // what it watches; of a signal's its number; kNoDescriptor; -1: none, or not known
  uint16_t library;    // label of the library's name
  WatcherCheck check;
  uint32_t arming;          // grows with each; 0: nothing is known of it
  uint32_t cause_stack;     // where the cause had been armed; kNoStack: it was not, or not known
  uint64_t cause;           // id; 0: armed outside any poll
  uint64_t cause_callback;  // of a watcher, 0 else
  uint32_t cause_arming;    // 0: not known
  uint32_t number;          // of `check`
  uint64_t type;
  uint64_t due;
  DueClock due_clock;
  uint16_t reserved[3];
};
static_assert(sizeof(Watcher) == 80);

}  // namespace asynctrace::segment
