#include "cli/crash_reader.hpp"

#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <span>

namespace asynctrace {
namespace {

using segment::CrashSource;

const char* no_stack_reason(CrashSource source) {
  switch (source) {
    case CrashSource::kNoCore: return "no core file was written";
    case CrashSource::kCorePiped: return "core files go to a program here";
    case CrashSource::kCoreGone: return "the core file is not where the system writes them";
    case CrashSource::kCoreBroken: return "the core file is incomplete or damaged";
    default: return "nobody saw it";
  }
}

std::optional<segment::Thread> find_thread(const SegmentReader& reader, uint32_t tid) {
  for (uint32_t i = 0; i < reader.used(segment::kThreads); i++)
    if (const auto thread = reader.thread(i); thread && thread->tid == tid) return thread;
  return {};
}

}  // namespace

bool is_crash_signal(int signal) {
  switch (signal) {
    case SIGABRT:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGSEGV:
    case SIGSYS:
    case SIGTRAP: return true;
    default: return false;
  }
}

bool ended_in_abort(const SegmentReader& reader, ProcessState known) {
  const segment::Header header = reader.header();
  const segment::Crash& crash = header.crash;
  if (known != ProcessState::kUnknown || crash.tid == 0 || crash.source != CrashSource::kAbort) return false;
  if (header.state == segment::AgentState::kExited) return false;
  const int status = static_cast<int>(header.wait_status);
  if (header.died_at_ns != 0 && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)) return false;
  const auto thread = find_thread(reader, crash.tid);
  return !thread || (thread->task == crash.task && thread->poll_since == crash.poll_since);
}

Crash read_crash(const SegmentReader& reader, bool in_abort, Snapshot& snapshot) {
  const segment::Header header = reader.header();
  const segment::Crash& in = header.crash;
  Crash out;
  out.signal = in_abort ? SIGABRT : WTERMSIG(static_cast<int>(header.wait_status));
  if (in.tid == 0 || (in.source == CrashSource::kAbort && !in_abort)) {
    out.no_stack_reason = no_stack_reason(in.source);
    return out;
  }
  out.tid = in.tid;
  for (const Thread& thread : snapshot.threads) {
    if (thread.tid != in.tid || !thread.task) continue;
    out.task = thread.task;
    out.in_poll_ns = thread.in_state_ns;
  }
  const std::span pcs(in.pcs, std::min(in.count, segment::kMaxCrashFrames));
  if (pcs.empty()) {
    out.no_stack_reason = "it could not be walked";
    return out;
  }
  out.stack = static_cast<uint32_t>(snapshot.stacks.size());
  Stack stack{{pcs.begin(), pcs.end()}};
  stack.truncated = pcs.size() == segment::kMaxCrashFrames;
  stack.no_root = true;
  snapshot.stacks.push_back(std::move(stack));
  return out;
}

}  // namespace asynctrace
