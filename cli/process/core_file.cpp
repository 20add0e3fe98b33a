#include "cli/process/core_file.hpp"

#include <glob.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <algorithm>
#include <vector>

#include "cli/native/native_stack.hpp"
#include "cli/process/file_descriptor.hpp"

namespace asynctrace {
namespace {

using segment::CrashSource;

std::string read_setting(const char* path) {
  std::string text = read_file(path).value_or("");
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::string quoted(char letter) {
  return std::string_view("*?[\\").find(letter) != std::string_view::npos ? std::string("\\") + letter
                                                                          : std::string(1, letter);
}

// The newest first: an older one may be left from another process.
std::vector<std::string> files_of(const std::string& pattern) {
  glob_t matches{};
  std::vector<std::pair<timespec, std::string>> found;
  if (::glob(pattern.c_str(), GLOB_NOSORT, nullptr, &matches) == 0) {
    for (size_t i = 0; i < matches.gl_pathc; i++) {
      struct stat info {};
      if (::stat(matches.gl_pathv[i], &info) == 0 && S_ISREG(info.st_mode))
        found.emplace_back(info.st_mtim, matches.gl_pathv[i]);
    }
  }
  ::globfree(&matches);
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first.tv_sec, a.first.tv_nsec) > std::pair(b.first.tv_sec, b.first.tv_nsec);
  });
  std::vector<std::string> paths;
  for (auto& [time, path] : found) paths.push_back(std::move(path));
  return paths;
}

}  // namespace

std::string core_file_glob(std::string pattern, bool uses_pid, pid_t pid, const std::string& directory) {
  if (pattern.empty()) pattern = "core";
  if (pattern[0] == '|' || pattern[0] == '@') return "";
  if (uses_pid && pattern.find("%p") == pattern.npos) pattern += ".%p";
  std::string result;
  if (pattern[0] != '/') {
    for (const char letter : directory + "/") result += quoted(letter);
  }
  for (size_t i = 0; i < pattern.size(); i++) {
    if (pattern[i] != '%') {
      result += quoted(pattern[i]);
    } else if (++i < pattern.size()) {
      // In another pid namespace %p is a number that we do not know, and would mistake for ours.
      result += pattern[i] == '%' ? "%" : pattern[i] == 'p' || pattern[i] == 'P' ? std::to_string(pid) : "*";
    }
  }
  return result;
}

CrashedThread crash_from_core(pid_t pid, int status, const std::string& executable,
                              const std::string& directory) {
  CrashedThread crash{CrashSource::kNoCore, WTERMSIG(status), 0, {}};
  if (!WCOREDUMP(status)) return crash;
  const std::string pattern =
      core_file_glob(read_setting("/proc/sys/kernel/core_pattern"),
                     read_setting("/proc/sys/kernel/core_uses_pid") == "1", pid, directory);
  crash.source = pattern.empty() ? CrashSource::kCorePiped : CrashSource::kCoreGone;
  if (pattern.empty()) return crash;
  for (const std::string& path : files_of(pattern)) {
    auto stack = native_stack_of_core(path, executable);
    if (!stack) {
      crash.source = CrashSource::kCoreBroken;
    } else if (stack->pid == pid) {
      return {CrashSource::kCore, WTERMSIG(status), stack->tid, std::move(stack->pcs)};
    }
  }
  return crash;
}

}  // namespace asynctrace
