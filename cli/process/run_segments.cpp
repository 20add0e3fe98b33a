#include "cli/process/run_segments.hpp"

#include <fnmatch.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <optional>
#include <random>

#include <fmt/format.h>

#include "cli/crash_reader.hpp"
#include "cli/process/core_file.hpp"
#include "cli/process/death_record.hpp"
#include "cli/process/proc.hpp"
#include "common/segment.hpp"

namespace asynctrace {
namespace {

namespace fs = std::filesystem;

// The file name pattern of -o as fnmatch has it: %e and %p stand for anything, %% for a percent sign.
std::string to_fnmatch(std::string_view pattern) {
  std::string result;
  for (size_t i = 0; i < pattern.size(); i++) {
    bool escape = pattern[i] == '%' && i + 1 < pattern.size();
    if (escape && (pattern[i + 1] == 'e' || pattern[i + 1] == 'p')) {
      result += '*';
      i++;
      continue;
    }
    if (escape && pattern[i + 1] == '%') i++;
    if (std::string_view("*?[\\").find(pattern[i]) != std::string_view::npos) result += '\\';
    result += pattern[i];
  }
  return result;
}

std::optional<std::pair<dev_t, ino_t>> file_id(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
  return std::pair(info.st_dev, info.st_ino);
}

// Makes way for a segment at `path`, as the agent never overwrites.
Result<void> make_way(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return {};
  auto summary = read_summary(path);
  if (!summary) {
    return fail(fmt::format("{}: exists and is not a segment file, so it is not overwritten", path),
                "choose another name for -o", 125);
  }
  if (life_of(path, *summary) == Life::kRunning) {
    return fail(fmt::format("{}: process {} is writing to it", path, summary->pid),
                "choose another name for -o, for example with %p in it", 125);
  }
  std::error_code error;
  fs::remove(path, error);
  if (error) return fail(fmt::format("{}: {}", path, error.message()), "choose another name for -o", 125);
  return {};
}

bool is_crash(int status) {
  return WIFSIGNALED(status) && is_crash_signal(WTERMSIG(status));
}

// Notes the end of a process in its file, which it had mapped as `summary` says. The stack of abort() is in
// the segment, if abort() is what ended it; any other may be in a core file.
void note_end(const std::string& path, pid_t pid, Ended ended, SegmentSummary& summary) {
  if (is_crash(ended.status) && summary.aborted && WTERMSIG(ended.status) == SIGABRT) {
    ended.crash.reset();
  } else if (is_crash(ended.status) && !ended.crash) {
    std::error_code error;
    // Most never leave the directory that they were started in, nor that of the run.
    const std::string directory =
        ended.directory.empty() ? fs::current_path(error).string() : ended.directory;
    ended.crash = crash_from_core(pid, ended.status, summary.exe, directory);
  }
  record_death(path, ended);
  if (auto noted = read_summary(path)) summary = std::move(*noted);
}

}  // namespace

Result<RunSegments> RunSegments::prepare(std::string directory, std::string run_id, std::string output) {
  RunSegments segments;
  segments.directory_ = std::move(directory);
  segments.file_pattern_ = fmt::format("*.{}-*{}", run_id, segment::kFileSuffix);
  if (!output.empty()) {
    fs::path path = output;
    segments.keeps_all_ = true;
    segments.directory_ = path.parent_path().string();
    segments.file_pattern_ = to_fnmatch(path.filename().string());
    if (segments.directory_.find('%') != std::string::npos) {
      return fail(fmt::format("{}: only the file name of -o may hold % patterns", output),
                  "name a directory that exists", 125);
    }
    if (::access(segments.directory_.c_str(), W_OK | X_OK) != 0) {
      return fail(fmt::format("{}: is no directory to write to", segments.directory_),
                  "create it, or choose another name for -o", 125);
    }
    if (output.find('%') == std::string::npos) {
      if (auto free = make_way(output); !free) return tl::unexpected(free.error());
    }
  }
  for (const std::string& file : segments.files()) {
    if (auto id = file_id(file)) segments.older_.insert(*id);
  }
  return segments;
}

bool RunSegments::is_segment(std::string_view name) const {
  // The agent appends ".<pid>" where the name of -o is taken, by a child say.
  const std::string file(name);
  return ::fnmatch(file_pattern_.c_str(), file.c_str(), 0) == 0 ||
         ::fnmatch((file_pattern_ + ".*").c_str(), file.c_str(), 0) == 0;
}

std::vector<std::string> RunSegments::files() const {
  std::vector<std::string> found;
  std::error_code error;
  for (fs::directory_iterator entry(directory_, error), end; !error && entry != end; entry.increment(error)) {
    if (!is_segment(entry->path().filename().string())) continue;
    auto id = file_id(entry->path().string());
    if (id && !older_.contains(*id)) found.push_back(entry->path().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<TracedProcess> RunSegments::live() const {
  std::vector<TracedProcess> found;
  for (pid_t pid : descendants(::getpid())) {
    if (auto process = find_live(pid)) found.push_back(std::move(*process));
  }
  return found;
}

std::vector<TracedProcess> RunSegments::take_lost(const EndedProcesses& ended) {
  std::vector<TracedProcess> found;
  const auto is_lost = [](const auto& end) {
    return is_killed(end.second.status) || is_crash(end.second.status);
  };
  if (std::none_of(ended.begin(), ended.end(), is_lost)) return found;
  for (const std::string& path : files()) {
    if (lost_.contains(path)) continue;
    auto summary = read_summary(path);
    const auto end = summary ? ended.find(static_cast<pid_t>(summary->pid)) : ended.end();
    if (end == ended.end() || !is_lost(*end)) continue;
    const Life life = life_of(path, *summary);
    if (life == Life::kRunning || life == Life::kExeced) continue;
    note_end(path, end->first, end->second, *summary);
    lost_.insert(path);
    found.push_back({end->first, life, path, path, std::move(*summary)});
  }
  return found;
}

std::vector<TracedProcess> RunSegments::discard_clean(const EndedProcesses& ended,
                                                      bool target_ended_well) const {
  std::vector<TracedProcess> kept;
  for (const std::string& path : files()) {
    auto summary = read_summary(path);
    if (!summary) continue;
    const auto pid = static_cast<pid_t>(summary->pid);
    const Life life = life_of(path, *summary);
    if (life == Life::kRunning || life == Life::kExeced) continue;
    const auto end = ended.find(pid);
    const bool ended_well = end != ended.end()
                                ? WIFEXITED(end->second.status) && WEXITSTATUS(end->second.status) == 0
                                : summary->exited && target_ended_well;
    if (ended_well && !keeps_all_) {
      std::error_code ignored;
      fs::remove(path, ignored);
      continue;
    }
    if (end != ended.end() && !lost_.contains(path)) note_end(path, pid, end->second, *summary);
    kept.push_back({pid, life, path, path, std::move(*summary)});
  }
  return kept;
}

std::string make_run_id() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}", random(), random());
}

}  // namespace asynctrace
