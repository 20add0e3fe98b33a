#include "cli/process/supervisor.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "cli/process/agent_environment.hpp"
#include "cli/process/proc.hpp"

namespace asynctrace {
namespace {

constexpr int kForwarded[] = {SIGTERM, SIGHUP, SIGINT, SIGUSR1, SIGUSR2};
constexpr int kTerminalStops[] = {SIGTSTP, SIGTTIN, SIGTTOU};

template <size_t N>
bool contains(const int (&signals)[N], uint32_t signal) {
  return std::find(signals, signals + N, static_cast<int>(signal)) != signals + N;
}

bool sent_by_process(const signalfd_siginfo& info) {
  return info.ssi_code <= 0;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  result.reserve(strings.size() + 1);
  for (std::string& text : strings) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

struct Pipe {
  FileDescriptor read_end, write_end;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail(fmt::format("pipe: {}", std::strerror(errno)), "", 125);
  return Pipe{FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

// Runs in the child. Does not return; a failing exec leaves its errno in `failure`.
[[noreturn]] void execute(const Launch& launch, const OldSignals& old, Pipe& go, int failure) {
  // Held back until the parent has said what it starts; if the parent dies first, so does the child.
  go.write_end.reset();
  char byte = 0;
  ssize_t got;
  do got = ::read(go.read_end.get(), &byte, 1);
  while (got < 0 && errno == EINTR);
  if (got != 1) ::_exit(125);

  std::vector<std::string> arguments = launch.arguments;
  std::vector<std::string> environment =
      with_variables(launch.environment, {{kRunPidVariable, std::to_string(::getpid())}});
  if (launch.quit_key) ::signal(SIGQUIT, SIG_IGN);
  ::signal(SIGPIPE, old.on_pipe);
  ::signal(SIGCHLD, old.on_child);
  ::sigprocmask(SIG_SETMASK, &old.mask, nullptr);
  ::execvpe(launch.path.c_str(), pointers(arguments).data(), pointers(environment).data());
  int error = errno;
  [[maybe_unused]] ssize_t told = ::write(failure, &error, sizeof error);
  ::_exit(127);
}

}  // namespace

Supervisor::~Supervisor() {
  if (!old_signals_) return;
  ::signal(SIGPIPE, old_signals_->on_pipe);
  ::signal(SIGCHLD, old_signals_->on_child);
  ::sigprocmask(SIG_SETMASK, &old_signals_->mask, nullptr);
}

Result<void> Supervisor::start(const Launch& launch, const std::function<void(pid_t)>& before_exec) {
  quit_key_ = launch.quit_key;
  sigset_t watched;
  sigemptyset(&watched);
  for (int signal : kForwarded) sigaddset(&watched, signal);
  for (int signal : kTerminalStops) sigaddset(&watched, signal);
  sigaddset(&watched, SIGQUIT);
  sigaddset(&watched, SIGCHLD);
  OldSignals old;
  ::sigprocmask(SIG_BLOCK, &watched, &old.mask);
  // An inherited SIG_IGN would make the kernel reap for us and hide every status.
  old.on_child = ::signal(SIGCHLD, SIG_DFL);
  // A reader of our messages that goes away must not take the supervisor with it.
  old.on_pipe = ::signal(SIGPIPE, SIG_IGN);
  old_signals_ = old;
  signals_ = FileDescriptor(::signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return fail(fmt::format("signalfd: {}", std::strerror(errno)), "", 125);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);

  auto go = make_pipe();
  if (!go) return tl::unexpected(go.error());
  auto failure = make_pipe();
  if (!failure) return tl::unexpected(failure.error());
  target_ = ::fork();
  if (target_ < 0) return fail(fmt::format("fork: {}", std::strerror(errno)), "", 125);
  if (target_ == 0) execute(launch, old, *go, failure->write_end.get());

  failure->write_end.reset();
  if (launch.crash_stacks) {
    auto seized = tracer_.emplace(launch.follow).seize(target_);
    if (!seized) return seized;
  }
  before_exec(target_);
  [[maybe_unused]] ssize_t told = ::write(go->write_end.get(), "", 1);
  int error = 0;
  ssize_t got;
  do got = ::read(failure->read_end.get(), &error, sizeof error);
  while (got < 0 && errno == EINTR);
  if (got != ssize_t{sizeof error}) return {};
  return fail(fmt::format("{}: {}", launch.path, std::strerror(error)),
              "check that it is a program for this system", error == ENOENT ? 127 : 126);
}

Supervisor::Event Supervisor::wait(std::optional<Clock::time_point> deadline) {
  if (const int signal = std::exchange(cancelled_by_, 0); signal != 0 && !ended_.contains(target_))
    ::kill(target_, signal);
  for (;;) {
    if (ended_.contains(target_)) return Event::kTargetEnded;
    if (std::exchange(quit_pressed_, false)) return Event::kQuitKey;
    if (cancelled_by_ != 0) return Event::kCancelled;
    if (std::exchange(ended_before_, ended_.size()) != ended_.size()) return Event::kEnded;
    bool due = deadline && Clock::now() >= *deadline;
    take_signals(deadline);
    // Even a deadline that is always due, as with a tiny --dump-every, must not hide the end.
    if (due && !quit_pressed_ && cancelled_by_ == 0 && !ended_.contains(target_)) return Event::kDeadline;
  }
}

// Handles what has arrived, or waits for it until the deadline.
void Supervisor::take_signals(std::optional<Clock::time_point> deadline) {
  timespec left{};
  if (deadline) {
    auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(*deadline - Clock::now()).count();
    if (ns > 0) left = {ns / 1'000'000'000, ns % 1'000'000'000};
  }
  pollfd polled[] = {{signals_.get(), POLLIN, 0}, {ends_ ? ends_->descriptor() : -1, POLLIN, 0}};
  ::ppoll(polled, std::size(polled), deadline ? &left : nullptr, nullptr);
  signalfd_siginfo info;
  while (::read(signals_.get(), &info, sizeof info) == ssize_t{sizeof info}) handle(info);
  if (ends_) ends_->take(ended_);
  follow_terminal_stop();
}

void Supervisor::handle(const signalfd_siginfo& info) {
  if (info.ssi_signo == SIGCHLD) {
    reap();
  } else if (info.ssi_signo == SIGQUIT && quit_key_) {
    quit_pressed_ = true;
  } else if (contains(kTerminalStops, info.ssi_signo)) {
    terminal_stop_ |= !sent_by_process(info);
  } else if (tells_cancel_ && sent_by_process(info) &&
             (info.ssi_signo == SIGINT || info.ssi_signo == SIGTERM)) {
    tells_cancel_ = false;
    cancelled_by_ = static_cast<int>(info.ssi_signo);
  } else if (sent_by_process(info) && !ended_.contains(target_)) {
    ::kill(target_, static_cast<int>(info.ssi_signo));
  }
}

void Supervisor::reap() {
  for (;;) {
    int status = 0;
    pid_t pid = ::waitpid(-1, &status, WNOHANG | WUNTRACED | (tracer_ ? __WALL : WCONTINUED));
    if (pid <= 0) return;
    if (tracer_ && reap_traced(pid, status)) continue;
    bool ended = WIFEXITED(status) || WIFSIGNALED(status);
    if (ended)
      ended_[pid] = {status, static_cast<uint64_t>(Clock::now().time_since_epoch().count()),
                     tracer_ ? tracer_->take_crash(pid) : std::nullopt, ends_ ? ends_->forget(pid) : ""};
    if (pid == target_) target_stopped_ = WIFSTOPPED(status);
    if (pid == target_ && WIFCONTINUED(status)) terminal_stop_ = false;
  }
}

// False for what remains to be handled: the end of a process.
bool Supervisor::reap_traced(pid_t pid, int status) {
  const CrashTracer::Event event = tracer_->handle(pid, status);
  if (event == CrashTracer::Event::kProcessEnded) return false;
  if (pid == target_ && event == CrashTracer::Event::kStopped) target_stopped_ = true;
  if (pid == target_ && event == CrashTracer::Event::kResumed) target_stopped_ = terminal_stop_ = false;
  return true;
}

// The terminal's stop reaches the whole group, but we wait for the target, which may have a screen to clean
// up first. A target that was stopped by a process alone is none of our business.
void Supervisor::follow_terminal_stop() {
  if (!terminal_stop_ || !target_stopped_) return;
  terminal_stop_ = target_stopped_ = false;
  ::kill(::getpid(), SIGSTOP);
  // A shell's fg continues the whole group. What is still stopped was left to us, unless Ctrl-Z came again.
  sigset_t pending;
  ::sigpending(&pending);
  auto stat = read_stat(target_);
  const char stopped = tracer_ ? 't' : 'T';
  if (stat && stat->state == stopped && sigismember(&pending, SIGTSTP) == 0) ::kill(target_, SIGCONT);
}

void Supervisor::end_tree(Clock::duration grace) {
  // SIGCHLD ends a round early for our own children; grandchildren that their parents reap are looked for.
  constexpr auto kRound = std::chrono::milliseconds(50);
  // What outlives SIGKILL this long hangs in the kernel or belongs to another user.
  constexpr auto kUnkillable = std::chrono::seconds(5);
  for (pid_t pid : descendants(::getpid())) {
    ::kill(pid, SIGTERM);
    ::kill(pid, SIGCONT);
  }
  auto deadline = Clock::now() + grace;
  for (;;) {
    reap();
    std::vector<pid_t> left = descendants(::getpid());
    auto now = Clock::now();
    if (left.empty() || now >= deadline + kUnkillable) return;
    // Again and again: what is killed may have forked, and its children become ours.
    if (now >= deadline) {
      for (pid_t pid : left) ::kill(pid, SIGKILL);
    }
    take_signals(now + kRound);
  }
}

int Supervisor::exit_code() const {
  auto found = ended_.find(target_);
  if (found == ended_.end()) return 125;
  int status = found->second.status;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace asynctrace
