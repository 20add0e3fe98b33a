#include "cli/process/traced_process.hpp"

#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "cli/process/file_descriptor.hpp"
#include "cli/process/proc.hpp"
#include "cli/process/segment_directory.hpp"
#include "common/segment.hpp"

namespace asynctrace {
namespace {

constexpr const char* kAgentFile = "libasynctrace-agent";
constexpr const char* kStartRemedy =
    "start the program with `asynctrace run`, or give its service the lines that `asynctrace env` prints";

// The mapped file under a path that opens it and is really it.
std::optional<std::string> open_path(pid_t pid, const SharedMapping& mapping) {
  std::vector<std::string> candidates;
  if (!mapping.deleted) candidates.push_back(fmt::format("/proc/{}/root{}", pid, mapping.path));
  candidates.push_back(fmt::format("/proc/{}/map_files/{}", pid, mapping.range));
  for (const std::string& path : candidates) {
    struct stat info {};
    // The device number in maps is not the file's own on btrfs and overlayfs, so the inode has to do.
    if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_ino != mapping.inode) continue;
    if (::access(path.c_str(), R_OK) == 0) return path;
  }
  return std::nullopt;
}

// What the process's own segment says, whether it is being traced or was until a detach. `unopened`: name of
// one that cannot be opened.
std::optional<TracedProcess> own_segment(pid_t pid, const std::string& maps, std::string& unopened) {
  std::vector<uint32_t> own_pids = namespaced_pids(pid);
  for (const SharedMapping& mapping : parse_shared_mappings(maps)) {
    auto path = open_path(pid, mapping);
    if (!path) {
      if (mapping.path.ends_with(segment::kFileSuffix)) unopened = mapping.path;
      continue;
    }
    auto summary = read_summary(*path);
    // A forked child still maps its parent's segment.
    if (summary && std::find(own_pids.begin(), own_pids.end(), summary->pid) != own_pids.end()) {
      return TracedProcess{pid, Life::kRunning, *path, mapping.path, std::move(*summary)};
    }
  }
  return std::nullopt;
}

Result<TracedProcess> find_in_maps(pid_t pid, const std::string& maps) {
  std::string unopened;
  auto own = own_segment(pid, maps, unopened);
  if (own && !own->summary.detached) return std::move(*own);
  if (own)
    return fail(fmt::format("process {} was traced until `asynctrace detach`", pid),
                fmt::format("asynctrace attach {}", pid));
  if (!unopened.empty()) {
    return fail(fmt::format("process {}: its segment {} cannot be opened", pid, unopened),
                "run this as root: the file was deleted or lies in another mount namespace");
  }
  std::string name = read_stat(pid).value_or(ProcStat{}).name;
  if (maps.find(kAgentFile) != maps.npos) {
    return fail(
        fmt::format("process {} ({}) has the agent, which traces nothing in it", pid, name),
        "dump it again once it runs an async runtime or a poll loop; without its symbol table a runtime may "
        "not be recognized, and a process that has changed its user may have no place to write to");
  }
  return fail(fmt::format("process {} ({}) is not traced", pid, name), kStartRemedy);
}

// Whoever lives now is meant, and not one that had its id before.
bool belongs_to(pid_t pid, const SegmentSummary& summary) {
  const auto stat = read_stat(pid);
  return !stat || stat->state == 'Z' || stat->start_time == summary.start_time;
}

}  // namespace

Result<TracedProcess> find_live(pid_t pid) {
  auto maps = read_file(fmt::format("/proc/{}/maps", pid));
  int error = errno;
  auto stat = read_stat(pid);
  if (!stat || stat->state == 'Z' || (!maps && error == ESRCH)) {
    return fail(fmt::format("process {} is gone", pid), "`asynctrace ps` lists the traced processes");
  }
  if (!maps && (error == EACCES || error == EPERM)) {
    return fail(fmt::format("process {} ({}) belongs to another user", pid, stat->name),
                "run this as that user, or as root");
  }
  if (!maps) return fail(fmt::format("/proc/{}/maps: {}", pid, std::strerror(error)));
  return find_in_maps(pid, *maps);
}

Result<TracedProcess> find_traced(pid_t pid) {
  auto live = find_live(pid);
  if (live) return live;
  std::vector<Error> unreadable;
  for (TracedProcess& process : list_traced(unreadable)) {
    if (process.pid == pid && process.life != Life::kRunning && belongs_to(pid, process.summary))
      return std::move(process);
  }
  const auto maps = read_file(fmt::format("/proc/{}/maps", pid));
  if (!maps || maps->empty()) return live;
  std::string unopened;
  if (!own_segment(pid, *maps, unopened) && !unopened.empty()) return live;
  TracedProcess untraced{pid, Life::kUntraced, "", "", {}};
  untraced.summary.pid = static_cast<uint32_t>(pid);
  return untraced;
}

std::vector<TracedProcess> list_live() {
  std::vector<TracedProcess> found;
  for (pid_t pid : all_pids()) {
    struct stat info {};
    if (::stat(fmt::format("/proc/{}", pid).c_str(), &info) != 0 || info.st_uid != ::geteuid()) continue;
    auto maps = read_file(fmt::format("/proc/{}/maps", pid));
    if (!maps) continue;
    if (auto process = find_in_maps(pid, *maps)) found.push_back(std::move(*process));
  }
  return found;
}

Life life_of(const std::string& path, const SegmentSummary& summary) {
  Life dead = summary.exited ? Life::kExited : Life::kEnded;
  auto pid = static_cast<pid_t>(summary.pid);
  auto stat = read_stat(pid);
  if (summary.boot_id != boot_id() || !stat || stat->state == 'Z' || stat->start_time != summary.start_time)
    return dead;
  auto maps = read_file(fmt::format("/proc/{}/maps", pid));
  if (!maps) return Life::kRunning;
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return dead;
  auto mappings = parse_shared_mappings(*maps);
  bool mapped =
      std::any_of(mappings.begin(), mappings.end(), [&](auto& m) { return m.inode == info.st_ino; });
  return mapped ? Life::kRunning : Life::kExeced;
}

std::vector<TracedProcess> list_traced(std::vector<Error>& unreadable) {
  struct Entry {
    timespec changed;
    TracedProcess process;
  };
  auto identity = [](const std::string& path) {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0 ? std::optional(info) : std::nullopt;
  };
  std::vector<Entry> entries;
  std::vector<ino_t> live_inodes;
  for (TracedProcess& process : list_live()) {
    auto info = identity(process.open_path);
    if (info) live_inodes.push_back(info->st_ino);
    entries.push_back({info ? info->st_mtim : timespec{}, std::move(process)});
  }
  for (const std::string& path : list_segment_files()) {
    auto info = identity(path);
    // Gone since it was listed, or listed already.
    if (!info || std::find(live_inodes.begin(), live_inodes.end(), info->st_ino) != live_inodes.end())
      continue;
    auto summary = read_summary(path);
    if (!summary) {
      unreadable.push_back(summary.error());
      continue;
    }
    Life life = life_of(path, *summary);
    entries.push_back(
        {info->st_mtim, {static_cast<pid_t>(summary->pid), life, path, path, std::move(*summary)}});
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    if (a.process.pid != b.process.pid) return a.process.pid < b.process.pid;
    if (a.changed.tv_sec != b.changed.tv_sec) return a.changed.tv_sec > b.changed.tv_sec;
    if (a.changed.tv_nsec != b.changed.tv_nsec) return a.changed.tv_nsec > b.changed.tv_nsec;
    return a.process.shown_path < b.process.shown_path;
  });
  std::vector<TracedProcess> processes;
  processes.reserve(entries.size());
  for (Entry& entry : entries) processes.push_back(std::move(entry.process));
  return processes;
}

}  // namespace asynctrace
