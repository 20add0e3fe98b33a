// Supervisor: runs the target as its direct child and is to its tree what pid 1 is to a system. One per
// process: it owns the process's signal mask and SIGCHLD, and makes it the subreaper. Not thread-safe;
// construct it before any thread starts.
//
// Signals while it runs
//   from the terminal: the target has them already, being in the same foreground group. INT is survived, QUIT
//   is
//     the quit key, TSTP stops us once it has stopped the target, and both go on together.
//   from a process (kill): TERM, HUP, INT, USR1, USR2 are forwarded, QUIT is the quit key.
// Without the quit key QUIT is like INT. Where that was asked for, a process's first INT or TERM is told as
// an event, and forwarded only when the next event is waited for.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <sys/signalfd.h>
#include <sys/types.h>
#include <csignal>

#include "cli/error.hpp"
#include "cli/process/crash_tracer.hpp"
#include "cli/process/end_watch.hpp"
#include "cli/process/ended_processes.hpp"
#include "cli/process/file_descriptor.hpp"

namespace asynctrace {

struct Launch {
  std::string path;                      // what to execute, found already
  std::vector<std::string> arguments;    // with argv[0]
  std::vector<std::string> environment;  // "NAME=value"; ASYNCTRACE_RUN_PID is added
  bool quit_key = true;                  // start the target with SIGQUIT ignored
  bool crash_stacks = false;             // see CrashTracer
  bool follow = true;                    // its children too
};

// What the target must find as if nobody stood between.
struct OldSignals {
  sigset_t mask{};
  sighandler_t on_pipe = SIG_DFL;
  sighandler_t on_child = SIG_DFL;
};

class Supervisor {
 public:
  using Clock = std::chrono::steady_clock;
  enum class Event { kDeadline, kQuitKey, kCancelled, kEnded, kTargetEnded };

  Supervisor() = default;
  ~Supervisor();  // restores the signals; ends no process
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Starts the target; `before_exec` runs here, with its pid, before its first instruction. A failing exec
  // gives an error with exit code 126 or 127.
  Result<void> start(const Launch& launch, const std::function<void(pid_t)>& before_exec);

  // From now on the first INT or TERM of a process is told: kCancelled.
  void tell_cancel() { tells_cancel_ = true; }

  // How processes end that others reap is told, too. To be called before start(): the first segment may be
  // there at once.
  void watch_ends(EndWatch watch) { ends_.emplace(std::move(watch)); }

  // Blocks until something happens. The target's end is told again on every later call. kEnded: some other
  // process ended.
  Event wait(std::optional<Clock::time_point> deadline);

  // SIGTERM to the whole tree, SIGKILL to what is left of it after `grace`; returns when nothing is left.
  void end_tree(Clock::duration grace);

  pid_t target() const { return target_; }
  // Exit code as a shell has it: the target's own, or 128 + the signal that killed it.
  int exit_code() const;
  // Everything whose end is known so far.
  const EndedProcesses& ended() const { return ended_; }

 private:
  void take_signals(std::optional<Clock::time_point> deadline);
  void handle(const signalfd_siginfo& info);
  void reap();
  bool reap_traced(pid_t pid, int status);
  void follow_terminal_stop();

  FileDescriptor signals_;
  std::optional<OldSignals> old_signals_;
  pid_t target_ = -1;
  bool quit_key_ = true;
  bool quit_pressed_ = false;
  bool tells_cancel_ = false;
  int cancelled_by_ = 0;  // told or to be told, and not forwarded yet
  size_t ended_before_ = 0;
  bool target_stopped_ = false;
  bool terminal_stop_ = false;
  std::optional<CrashTracer> tracer_;
  std::optional<EndWatch> ends_;
  EndedProcesses ended_;
};

}  // namespace asynctrace
