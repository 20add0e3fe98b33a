#include "cli/process/crash_tracer.hpp"

#include <sys/ptrace.h>
#include <sys/wait.h>
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>

#include <fmt/format.h>

#include "cli/crash_reader.hpp"
#include "cli/native/native_stack.hpp"
#include "cli/process/file_descriptor.hpp"

namespace asynctrace {
namespace {

constexpr int kStopSignals[] = {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};

struct ThreadStatus {
  pid_t process = 0;
  uint64_t ignored = 0;  // bit N - 1 for signal N
  uint64_t caught = 0;
};

// A thread in a ptrace-stop cannot vanish, but SIGKILL takes it at any moment.
std::optional<ThreadStatus> read_status(pid_t tid) {
  const auto text = read_file(fmt::format("/proc/{}/status", tid));
  if (!text) return std::nullopt;
  const auto field = [&](std::string_view name, int base, auto& value) {
    const size_t at = text->find(name);
    if (at == text->npos) return false;
    const char* from = text->data() + at + name.size();
    return std::from_chars(from, text->data() + text->size(), value, base).ec == std::errc();
  };
  ThreadStatus status;
  if (!field("\nTgid:\t", 10, status.process) || !field("\nSigIgn:\t", 16, status.ignored) ||
      !field("\nSigCgt:\t", 16, status.caught))
    return std::nullopt;
  return status;
}

void resume(pid_t tid, int signal) {
  ::ptrace(PTRACE_CONT, tid, nullptr, signal);
}

}  // namespace

Result<void> CrashTracer::seize(pid_t pid) {
  const int options = PTRACE_O_TRACECLONE | (follow_ ? PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK : 0);
  if (::ptrace(PTRACE_SEIZE, pid, nullptr, options) == 0) return {};
  return fail(fmt::format("--crash-stack: ptrace: {}", std::strerror(errno)),
              "allow it (sysctl kernel.yama.ptrace_scope=1, docker run --cap-add SYS_PTRACE), or do without",
              125);
}

CrashTracer::Event CrashTracer::handle(pid_t tid, int status) {
  if (WIFSTOPPED(status)) return handle_stop(tid, status);
  return threads_.erase(tid) != 0 ? Event::kThreadEnded : Event::kProcessEnded;
}

CrashTracer::Event CrashTracer::handle_stop(pid_t tid, int status) {
  const int event = status >> 16;
  const int signal = WSTOPSIG(status);
  if (event == PTRACE_EVENT_STOP) {
    if (std::find(std::begin(kStopSignals), std::end(kStopSignals), signal) != std::end(kStopSignals)) {
      ::ptrace(PTRACE_LISTEN, tid, nullptr, nullptr);
      return Event::kStopped;
    }
    const auto thread = read_status(tid);
    if (thread && thread->process != tid) threads_.insert(tid);
    resume(tid, 0);
    return Event::kResumed;
  }
  // What has been cloned or forked reports by itself.
  if (event == 0 && is_crash_signal(signal)) look_at(tid, signal);
  resume(tid, event == 0 ? signal : 0);
  return Event::kHandled;
}

void CrashTracer::look_at(pid_t tid, int signal) {
  const auto thread = read_status(tid);
  const uint64_t bit = uint64_t{1} << (signal - 1);
  if (!thread || ((thread->caught | thread->ignored) & bit) != 0) return;
  // Of several threads that fault at once the first one brings the process down.
  const auto [crash, is_first] = crashes_.try_emplace(thread->process);
  if (!is_first) return;
  crash->second = {segment::CrashSource::kTraced, signal, tid, {}};
  if (auto pcs = native_stack_of_stopped_thread(thread->process, tid)) crash->second.pcs = std::move(*pcs);
}

std::optional<CrashedThread> CrashTracer::take_crash(pid_t pid) {
  auto found = crashes_.extract(pid);
  if (found.empty()) return std::nullopt;
  return std::move(found.mapped());
}

}  // namespace asynctrace
