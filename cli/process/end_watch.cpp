#include "cli/process/end_watch.hpp"

#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <chrono>
#include <filesystem>
#include <optional>

#include <fmt/format.h>

#include "cli/process/proc.hpp"

namespace asynctrace {
namespace {

constexpr uint32_t kNoPid = 0;  // the epoll entry of inotify

// linux/pidfd.h of Linux 6.15; Debian 12's headers are older.
struct PidfdInfo {
  uint64_t mask = 0;
  uint64_t cgroup_id = 0;
  uint32_t ids[11] = {};  // of process, parent, users and groups
  int32_t exit_code = 0;  // as the status of waitpid(2)
};
static_assert(sizeof(PidfdInfo) == 64);
constexpr uint64_t kPidfdInfoExit = 1 << 3;
constexpr unsigned long kPidfdGetInfo = _IOWR(0xFF, 11, PidfdInfo);

// Once it is reaped.
std::optional<int> status_of_reaped(const FileDescriptor& pidfd) {
  PidfdInfo info;
  info.mask = kPidfdInfoExit;
  if (::ioctl(pidfd.get(), kPidfdGetInfo, &info) != 0 || (info.mask & kPidfdInfoExit) == 0)
    return std::nullopt;
  return info.exit_code;
}

std::string working_directory(pid_t pid) {
  std::error_code unknown;
  return std::filesystem::read_symlink(fmt::format("/proc/{}/cwd", pid), unknown).string();
}

}  // namespace

EndWatch::EndWatch(const std::string& directory, std::function<bool(std::string_view)> is_segment)
    : is_segment_(std::move(is_segment)), inotify_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
  if (!inotify_ || ::inotify_add_watch(inotify_.get(), directory.c_str(), IN_CREATE) < 0) return;
  epoll_ = FileDescriptor(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{EPOLLIN, {.u32 = kNoPid}};
  if (epoll_ && ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, inotify_.get(), &event) != 0) epoll_.reset();
}

void EndWatch::take(EndedProcesses& ended) {
  epoll_event events[64];
  int count;
  while ((count = ::epoll_wait(epoll_.get(), events, std::size(events), 0)) > 0) {
    bool appeared = false;
    for (int i = 0; i < count; i++) {
      if (events[i].data.u32 == kNoPid) {
        appeared = segment_appeared();
        continue;
      }
      note_end(static_cast<pid_t>(events[i].data.u32), ended);
    }
    if (appeared) watch_tree();
  }
}

std::string EndWatch::forget(pid_t pid) {
  const auto watched = watched_.extract(pid);
  return watched ? std::move(watched.mapped().directory) : "";
}

bool EndWatch::segment_appeared() {
  bool appeared = false;
  alignas(inotify_event) char buffer[4096];
  ssize_t size;
  while ((size = ::read(inotify_.get(), buffer, sizeof buffer)) > 0) {
    for (const char* at = buffer; at < buffer + size;) {
      const auto* event = reinterpret_cast<const inotify_event*>(at);
      appeared |= (event->mask & IN_Q_OVERFLOW) != 0 || (event->len > 0 && is_segment_(event->name));
      at += sizeof(inotify_event) + event->len;
    }
  }
  return appeared;
}

void EndWatch::watch_tree() {
  for (const pid_t pid : descendants(::getpid())) {
    if (watched_.contains(pid)) continue;
    FileDescriptor pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    epoll_event event{EPOLLIN | EPOLLONESHOT, {.u32 = static_cast<uint32_t>(pid)}};
    if (!pidfd || ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, pidfd.get(), &event) != 0) continue;
    watched_.emplace(pid, Watched{std::move(pidfd), working_directory(pid)});
  }
}

void EndWatch::note_end(pid_t pid, EndedProcesses& ended) {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  const FileDescriptor& pidfd = watched_.at(pid).pidfd;
  std::optional<int> status = status_of_reaped(pidfd);
  if (!status) {
    const auto stat = read_stat(pid);
    if (stat && stat->ppid == ::getpid()) return;
    // Dead, or just being reaped; or else its parent was quicker.
    const bool is_dead = stat && (stat->state == 'Z' || stat->state == 'X');
    status = is_dead ? stat->exit_status : status_of_reaped(pidfd);
  }
  if (status) {
    ended[pid] = {*status, static_cast<uint64_t>(std::chrono::nanoseconds(now).count()), std::nullopt,
                  watched_.at(pid).directory};
  }
  watched_.erase(pid);
}

}  // namespace asynctrace
