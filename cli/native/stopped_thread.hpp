// StoppedThread: holds one thread of another process in a ptrace-stop, and lets go of it as if nothing had
// been. The other threads run on. Used from one thread, for as short as can be.
//
// What happens in the target meanwhile stays as it was: a signal that arrives is delivered afterwards, a
// stopped process stays stopped, an interrupted system call is taken up again, also those (epoll_wait, ..)
// that the kernel would end with EINTR.
#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include "cli/error.hpp"

namespace asynctrace {

class StoppedThread {
 public:
  // Errors say why the thread cannot be held, in words for people.
  static Result<StoppedThread> stop(pid_t tid);
  StoppedThread(StoppedThread&& other) noexcept;
  StoppedThread& operator=(StoppedThread&&) = delete;
  ~StoppedThread();  // lets go

  const user_regs_struct& registers() const { return registers_; }

 private:
  explicit StoppedThread(pid_t tid) : tid_(tid) {}
  bool wait_for_stop();
  void restart_system_call();

  pid_t tid_;       // 0: holds none
  int signal_ = 0;  // to be delivered
  user_regs_struct registers_{};
};

// Why the kernel keeps us from looking into a thread, `error` being its errno.
std::string why_not_permitted(pid_t tid, int error);

}  // namespace asynctrace
