#include "cli/native/stopped_thread.hpp"

#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "cli/process/file_descriptor.hpp"

namespace asynctrace {
namespace {

// The value of "Name:" in /proc/TID/status, "" where there is none.
std::string status_field(pid_t tid, std::string_view name) {
  const std::string text = read_file(fmt::format("/proc/{}/status", tid)).value_or("");
  const size_t line = text.find(fmt::format("\n{}:\t", name));
  if (line == std::string::npos) return {};
  const size_t value = line + name.size() + 3;
  return text.substr(value, text.find('\n', value) - value);
}

bool has_deliverable_signal(pid_t tid) {
  const auto mask = [&](const char* name) {
    return std::strtoull(status_field(tid, name).c_str(), nullptr, 16);
  };
  return ((mask("SigPnd") | mask("ShdPnd")) & ~mask("SigBlk")) != 0;
}

}  // namespace

std::string why_not_permitted(pid_t tid, int error) {
  if (error == ESRCH || error == ENOENT) return "the thread has ended";
  const std::string tracer = status_field(tid, "TracerPid");
  if (tracer == std::to_string(::getpid())) return "it runs under --crash-stack";
  if (!tracer.empty() && tracer != "0") return fmt::format("process {} debugs it", tracer);
  const std::string yama = read_file("/proc/sys/kernel/yama/ptrace_scope").value_or("0");
  if (yama.starts_with('1')) {
    return "not permitted: kernel.yama.ptrace_scope is 1, which leaves it to root and to `asynctrace run` "
           "that "
           "started the process";
  }
  return fmt::format("not permitted ({})", std::strerror(error));
}

Result<StoppedThread> StoppedThread::stop(pid_t tid) {
  if (::ptrace(PTRACE_SEIZE, tid, 0, 0) != 0) return fail(why_not_permitted(tid, errno));
  StoppedThread held(tid);
  ::ptrace(PTRACE_INTERRUPT, tid, 0, 0);
  if (!held.wait_for_stop()) {
    held.tid_ = 0;
    return fail("it ended or did not stop");
  }
  iovec into{&held.registers_, sizeof held.registers_};
  if (::ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &into) != 0) return fail(why_not_permitted(tid, errno));
  held.restart_system_call();
  return held;
}

StoppedThread::StoppedThread(StoppedThread&& other) noexcept
    : tid_(std::exchange(other.tid_, 0)), signal_(other.signal_), registers_(other.registers_) {}

StoppedThread::~StoppedThread() {
  if (tid_ != 0) ::ptrace(PTRACE_DETACH, tid_, 0, signal_);
}

bool StoppedThread::wait_for_stop() {
  using Clock = std::chrono::steady_clock;
  // A thread that runs stops at once; one that meanwhile sleeps for a disk does so later.
  const auto deadline = Clock::now() + std::chrono::seconds(5);
  for (auto pause = std::chrono::microseconds(20); Clock::now() < deadline; pause += pause / 2) {
    siginfo_t info{};
    // Looked at first: the status of a process that ended is its parent's to take.
    if (::waitid(P_PID, static_cast<id_t>(tid_), &info, WSTOPPED | WEXITED | __WALL | WNOHANG | WNOWAIT) != 0)
      return false;
    if (info.si_pid == tid_) {
      if (info.si_code != CLD_TRAPPED && info.si_code != CLD_STOPPED) return false;
      int status = 0;
      if (::waitpid(tid_, &status, __WALL) != tid_ || !WIFSTOPPED(status)) return false;
      const bool is_our_trap_or_group_stop = status >> 16 == PTRACE_EVENT_STOP;
      signal_ = is_our_trap_or_group_stop ? 0 : WSTOPSIG(status);
      return true;
    }
    std::this_thread::sleep_for(pause);
  }
  return false;
}

void StoppedThread::restart_system_call() {
#if defined(__x86_64__)
  constexpr unsigned kSyscallInstruction = 2;  // bytes
  const auto number = static_cast<long>(registers_.orig_rax);
  if (number < 0 || static_cast<long>(registers_.rax) != -EINTR || signal_ != 0 ||
      has_deliverable_signal(tid_))
    return;
  user_regs_struct again = registers_;
  again.rax = again.orig_rax;
  again.orig_rax = static_cast<unsigned long long>(-1);
  again.rip -= kSyscallInstruction;
  iovec from{&again, sizeof again};
  ::ptrace(PTRACE_SETREGSET, tid_, NT_PRSTATUS, &from);
#endif
}

}  // namespace asynctrace
