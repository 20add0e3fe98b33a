#include "cli/attach/held_thread.hpp"

#include <elf.h>
#include <linux/rseq.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "cli/attach/sleep_mark.hpp"
#include "cli/attach/target_memory.hpp"
#include "cli/native/stopped_thread.hpp"

namespace asynctrace {
namespace {

constexpr size_t kMaxExtendedState = 16 << 10;   // AMX has 11 KiB
constexpr int kSystemCallStop = SIGTRAP | 0x80;  // PTRACE_O_TRACESYSGOOD
constexpr auto kBetweenLooks = std::chrono::microseconds(50);
constexpr int kMaxSteps = 50'000;
constexpr auto kTimeToLetGo = std::chrono::seconds(1);

bool is_event(int status) {
  return status >> 16 == PTRACE_EVENT_STOP;
}

// Of the thread's own doing; a signal that someone sent stays blocked until the call is over.
bool is_fault(int signal) {
  constexpr int kFaults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGSYS};
  return std::find(std::begin(kFaults), std::end(kFaults), signal) != std::end(kFaults);
}

Error ended(pid_t tid) {
  return {fmt::format("thread {} has ended", tid), {}};
}

}  // namespace

Result<HeldThread> HeldThread::stop(pid_t pid, pid_t tid, Deadline deadline) {
  // waitpid() has no time limit, sigtimedwait() has.
  std::signal(SIGCHLD, SIG_DFL);
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  ::pthread_sigmask(SIG_BLOCK, &children, nullptr);
  const auto asleep = SleepMark::read(pid, tid);
  if (::ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACESYSGOOD) != 0) return fail(why_not_permitted(tid, errno));
  HeldThread held(pid, tid);
  ::ptrace(PTRACE_INTERRUPT, tid, 0, 0);
  if (auto stopped = held.wait_for_stop(deadline).and_then([&] { return held.read_state(); }); !stopped) {
    // It is not in a stop, so it cannot be let go of; the kernel does that when we end.
    held.tid_ = 0;
    return tl::unexpected(stopped.error());
  }
  held.stopped_ = std::chrono::steady_clock::now();
  const auto now = asleep ? SleepMark::read(pid, tid) : std::nullopt;
  if (now) held.waited_ = time_asleep(*asleep, *now);
  return held;
}

HeldThread::HeldThread(HeldThread&& other) noexcept
    : pid_(other.pid_),
      tid_(std::exchange(other.tid_, 0)),
      since_(other.since_),
      state_(std::move(other.state_)),
      keeps_time_(other.keeps_time_),
      stopped_(other.stopped_),
      waited_(other.waited_),
      frame_(std::move(other.frame_)) {}

HeldThread::~HeldThread() {
  if (tid_ == 0) return;
  if (frame_) {
    finish_call();
  } else {
    set_registers(resuming(registers_after(std::chrono::steady_clock::now() - stopped_)));
    ::ptrace(PTRACE_DETACH, tid_, 0, 0);
  }
}

user_regs_struct HeldThread::registers_after(std::chrono::nanoseconds stop) const {
  return keeps_time_ ? with_time_left(state_.registers, waited_ + stop) : state_.registers;
}

// The status of its next change. Nothing: the deadline has passed.
std::optional<int> HeldThread::wait(Deadline deadline) {
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  for (;;) {
    int status = 0;
    const pid_t changed = ::waitpid(tid_, &status, __WALL | WNOHANG);
    if (changed == tid_) return status;
    if (changed < 0 && errno != EINTR) return W_EXITCODE(0, SIGKILL);
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= left.zero()) return std::nullopt;
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    const timespec time{seconds.count(), std::chrono::nanoseconds(left - seconds).count()};
    ::sigtimedwait(&children, nullptr, &time);
  }
}

Result<void> HeldThread::wait_for_stop(Deadline deadline) {
  for (;;) {
    const auto status = wait(deadline);
    if (!status) return fail(fmt::format("thread {} does not stop: it sleeps in the kernel", tid_));
    if (!WIFSTOPPED(*status)) return tl::unexpected(ended(tid_));
    const int signal = WSTOPSIG(*status);
    if (is_event(*status) && signal == SIGTRAP) return {};
    if (is_event(*status)) return fail("the process is stopped", fmt::format("kill -CONT {}", pid_));
    // A signal of its own comes first.
    ::ptrace(PTRACE_CONT, tid_, 0, signal == kSystemCallStop ? 0 : signal);
  }
}

Result<void> HeldThread::read_state() {
  iovec registers{&state_.registers, sizeof state_.registers};
  state_.extended.resize(kMaxExtendedState);
  iovec extended{state_.extended.data(), state_.extended.size()};
  if (::ptrace(PTRACE_GETREGSET, tid_, NT_PRSTATUS, &registers) != 0 ||
      ::ptrace(PTRACE_GETREGSET, tid_, NT_X86_XSTATE, &extended) != 0 ||
      ::ptrace(PTRACE_GETSIGMASK, tid_, sizeof state_.signal_mask, &state_.signal_mask) != 0)
    return fail(why_not_permitted(tid_, errno));
  state_.extended.resize(extended.iov_len);
  return {};
}

bool HeldThread::is_in_restartable_sequence() const {
  __ptrace_rseq_configuration area{};
  if (::ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid_, sizeof area, &area) <= 0 || area.rseq_abi_pointer == 0)
    return false;
  uint64_t descriptor = 0;
  rseq_cs sequence{};
  const uint64_t at = area.rseq_abi_pointer + offsetof(rseq, rseq_cs);
  return read_memory(pid_, at, std::as_writable_bytes(std::span(&descriptor, 1))) && descriptor != 0 &&
         read_memory(pid_, descriptor, std::as_writable_bytes(std::span(&sequence, 1))) &&
         state_.registers.rip - sequence.start_ip < sequence.post_commit_offset;
}

bool HeldThread::set_registers(const user_regs_struct& registers) {
  iovec from{const_cast<user_regs_struct*>(&registers), sizeof registers};
  return ::ptrace(PTRACE_SETREGSET, tid_, NT_PRSTATUS, &from) == 0;
}

std::optional<user_regs_struct> HeldThread::registers_now() const {
  user_regs_struct now{};
  iovec into{&now, sizeof now};
  return ::ptrace(PTRACE_GETREGSET, tid_, NT_PRSTATUS, &into) == 0 ? std::optional(now) : std::nullopt;
}

// Makes it ready to begin the call when it goes on.
Result<void> HeldThread::enter(uint64_t sigreturn, uint64_t function, std::span<const std::byte> data,
                               uint64_t flags) {
  ThreadState state = state_;
  state.registers = registers_after({});
  CallFrame frame = make_call_frame(state, sigreturn, function, flags);
  // The way back comes first, and is there already where it has been made for the call before.
  const bool written = (frame_ || write_memory(pid_, frame.start, frame.bytes)) &&
                       write_memory(pid_, frame.data, data) &&
                       write_memory(pid_, frame.entry, frame.entry_bytes) && set_registers(frame.enter);
  if (!written)
    return fail(fmt::format("the stack of thread {} cannot be written: {}", tid_, std::strerror(errno)));
  frame_ = std::move(frame);
  return {};
}

Result<void> HeldThread::call(uint64_t sigreturn, uint64_t function, std::span<std::byte> data,
                              uint64_t flags, Deadline deadline, std::optional<Meeting> meeting) {
  return enter(sigreturn, function, data, flags)
      .and_then([&] { return run_to_end(deadline, meeting); })
      .and_then([&]() -> Result<void> {
        if (!read_memory(pid_, frame_->data, data)) return tl::unexpected(ended(tid_));
        return {};
      });
}

std::optional<uint64_t> HeldThread::value_of_call(uint64_t sigreturn, uint64_t function, Deadline deadline) {
  if (!enter(sigreturn, function, {}, 0)) return std::nullopt;
  std::optional<uint64_t> value;
  for (int step = 0; step < kMaxSteps && !value; ++step) {
    ::ptrace(PTRACE_SINGLESTEP, tid_, 0, 0);
    const auto status = wait(deadline);
    if (!status || !WIFSTOPPED(*status)) return tid_ = 0, std::nullopt;
    if (*status != W_STOPCODE(SIGTRAP)) break;  // a fault, or someone stops the process
    const auto now = registers_now();
    if (!now) break;
    // At the code that ends it, as a function returns there.
    if (now->rip == sigreturn && now->rsp == frame_->end_stack_pointer) value = now->rax;
  }
  if (!value) set_registers(frame_->put_back);
  const auto finished = run_to_end(deadline, std::nullopt);
  return finished ? value : std::nullopt;
}

// The status of its next change; no meeting any more where they have met. Nothing: the deadline has passed.
std::optional<int> HeldThread::wait_for_meeting(std::optional<Meeting>& meeting, Deadline deadline) {
  for (;;) {
    const Deadline now = std::chrono::steady_clock::now();
    const auto status = wait(std::min(deadline, now + kBetweenLooks));
    if (status || now >= deadline) return status;
    uint32_t done = 0;
    const uint32_t go = 1;
    if (!read_memory(pid_, frame_->data + meeting->done, std::as_writable_bytes(std::span(&done, 1))) ||
        done == 0)
      continue;
    // Not before it is stopped: else it would be past the end of the call by then.
    ::ptrace(PTRACE_INTERRUPT, tid_, 0, 0);
    const auto stopped = wait(deadline);
    write_memory(pid_, frame_->data + meeting->go, std::as_bytes(std::span(&go, 1)));
    meeting.reset();
    return stopped;
  }
}

Result<void> HeldThread::run_to_end(Deadline deadline, std::optional<Meeting> meeting) {
  std::optional<int> fault;
  for (int signal = 0;;) {
    ::ptrace(meeting ? PTRACE_CONT : PTRACE_SYSCALL, tid_, 0, signal);
    signal = 0;
    const auto status = meeting ? wait_for_meeting(meeting, deadline) : wait(deadline);
    if (!status) {
      const pid_t tid = std::exchange(tid_, 0);  // not in a stop: it is let go of when we end
      return fail(fmt::format("thread {} is still loading the agent; it goes on by itself when it has", tid));
    }
    if (!WIFSTOPPED(*status)) return tid_ = 0, tl::unexpected(Error{"the process has ended", {}});
    if (WSTOPSIG(*status) == kSystemCallStop) {
      const auto now = registers_now();
      if (!now || !is_end_of(*frame_, *now)) continue;
      if (!fault) return {};
      return fail(
          fmt::format("the agent failed in it: {}; the process goes on without", ::strsignal(*fault)));
    }
    if (is_event(*status)) {
      if (WSTOPSIG(*status) == SIGTRAP) continue;
      ::ptrace(PTRACE_DETACH, std::exchange(tid_, 0), 0, 0);
      return fail("the process was stopped meanwhile; it goes on from there when it is continued");
    }
    if (is_fault(WSTOPSIG(*status)) && !fault) {
      fault = WSTOPSIG(*status);
      meeting.reset();
      set_registers(frame_->put_back);
    } else {
      signal = WSTOPSIG(*status);
    }
  }
}

// Through the sigreturn, then to a stop from which the kernel takes up the interrupted system call by its own
// rules. Where that fails the thread restarts it by itself.
void HeldThread::finish_call() {
  const Deadline deadline = std::chrono::steady_clock::now() + kTimeToLetGo;
  ::ptrace(PTRACE_SYSCALL, tid_, 0, 0);
  auto status = wait(deadline);
  if (status && WIFSTOPPED(*status) && WSTOPSIG(*status) == kSystemCallStop) {
    ::ptrace(PTRACE_INTERRUPT, tid_, 0, 0);
    ::ptrace(PTRACE_CONT, tid_, 0, 0);
    status = wait(deadline);
  }
  if (!status || !WIFSTOPPED(*status)) return;
  const bool has_signal = !is_event(*status) && WSTOPSIG(*status) != kSystemCallStop;
  set_registers(resuming(registers_after(std::chrono::steady_clock::now() - stopped_)));
  ::ptrace(PTRACE_DETACH, tid_, 0, has_signal ? WSTOPSIG(*status) : 0);
}

}  // namespace asynctrace
