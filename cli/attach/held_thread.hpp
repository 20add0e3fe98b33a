// HeldThread: holds one thread of another process in a ptrace-stop and has it call functions there. The other
// threads run on. Whatever happens, the end of this process included, the thread goes on where it was held:
// see call_frame.hpp. Used from one thread; waits for SIGCHLD, which it keeps blocked.
//
// Signals for the target stay its own: those that come before a call are handled first, those that come
// meanwhile after it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <span>

#include "cli/attach/call_frame.hpp"
#include "cli/error.hpp"

namespace asynctrace {

using Deadline = std::chrono::steady_clock::time_point;

class HeldThread {
 public:
  // Errors say in words for people why it cannot be held. `pid`: whose thread it is.
  static Result<HeldThread> stop(pid_t pid, pid_t tid, Deadline deadline);
  HeldThread(HeldThread&& other) noexcept;
  HeldThread& operator=(HeldThread&&) = delete;
  ~HeldThread();  // lets go

  pid_t tid() const { return tid_; }
  const user_regs_struct& registers() const { return state_.registers; }
  std::chrono::steady_clock::time_point since() const { return since_; }
  // Between the first and the last instruction of what the kernel would begin anew if it took the processor
  // from the thread (rseq(2)): to go elsewhere and come back would hide that from the program.
  bool is_in_restartable_sequence() const;

  // The interrupted system call goes on for the time that it has left, not for all of it: where a function of
  // libc made it, see with_time_left().
  void keep_time() { keeps_time_ = true; }

  // Two numbers of 32 bits in the data of a call, by their offsets: the function sets `done` to 1 and waits a
  // while for `go`. Without, the thread is stopped at each system call, for one of them is the end of the
  // call.
  struct Meeting {
    size_t done = 0;
    size_t go = 0;
  };

  // function(data, flags), with all signals blocked; `data`, at most kMaxCallData bytes, is given as an
  // address and read back afterwards. `sigreturn`: where libc has that code. An error leaves the thread to go
  // on: at once where the call has failed, when it returns where it took longer than the deadline.
  Result<void> call(uint64_t sigreturn, uint64_t function, std::span<std::byte> data, uint64_t flags,
                    Deadline deadline, std::optional<Meeting> meeting = std::nullopt);

  // What function() returns: a short one without arguments, for the thread goes step by step. Nothing: it
  // failed, or took too long.
  std::optional<uint64_t> value_of_call(uint64_t sigreturn, uint64_t function, Deadline deadline);

 private:
  HeldThread(pid_t pid, pid_t tid) : pid_(pid), tid_(tid) {}
  std::optional<int> wait(Deadline deadline);
  Result<void> wait_for_stop(Deadline deadline);
  std::optional<int> wait_for_meeting(std::optional<Meeting>& meeting, Deadline deadline);
  Result<void> enter(uint64_t sigreturn, uint64_t function, std::span<const std::byte> data, uint64_t flags);
  std::optional<user_regs_struct> registers_now() const;
  Result<void> run_to_end(Deadline deadline, std::optional<Meeting> meeting);
  Result<void> read_state();
  bool set_registers(const user_regs_struct& registers);
  void finish_call();
  user_regs_struct registers_after(std::chrono::nanoseconds stop) const;

  pid_t pid_;
  pid_t tid_;  // 0: holds none
  std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
  ThreadState state_;
  bool keeps_time_ = false;
  std::chrono::steady_clock::time_point stopped_{};
  std::chrono::nanoseconds waited_{};  // in the system call, until then
  std::optional<CallFrame> frame_;     // of the last call, whose end the thread is in
};

}  // namespace asynctrace
