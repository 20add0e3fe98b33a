// CrashTracer: holds the target by ptrace so that a thread that is about to be killed by a fault can be
// looked at. Only signals stop a thread, and its start: everything else runs at full speed. A signal that the
// program handles or ignores, and any that stands for no fault, is passed on untouched; stops of the terminal
// stay stops. All calls from one thread, which must be the one that waits for the target.
#pragma once

#include <map>
#include <optional>
#include <set>

#include <sys/types.h>

#include "cli/error.hpp"
#include "cli/process/ended_processes.hpp"

namespace asynctrace {

class CrashTracer {
 public:
  enum class Event {
    kHandled,
    kStopped,       // by a stop signal; stays so until SIGCONT
    kResumed,       // a new thread or process, or one that SIGCONT woke
    kThreadEnded,   // and not its process
    kProcessEnded,  // the status is that of waitpid(2) without us
  };

  // `follow`: the processes that the target starts, too. They are let go of when this process ends.
  explicit CrashTracer(bool follow) : follow_(follow) {}

  Result<void> seize(pid_t pid);

  // To be given each result of waitpid(-1, .., WUNTRACED | __WALL). Not with WCONTINUED: that takes the news
  // from the process's own parent.
  Event handle(pid_t tid, int status);

  // Of a process that has ended.
  std::optional<CrashedThread> take_crash(pid_t pid);

 private:
  Event handle_stop(pid_t tid, int status);
  void look_at(pid_t tid, int signal);

  const bool follow_;
  std::set<pid_t> threads_;  // other than the first of a process
  std::map<pid_t, CrashedThread> crashes_;
};

}  // namespace asynctrace
