#include "cli/process/segment_directory.hpp"

#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>

#include "common/segment.hpp"
#include "common/segment_dir.hpp"

namespace asynctrace {
namespace {

namespace fs = std::filesystem;

// Another user could have put /tmp/asynctrace-UID there.
bool is_ours(const std::string& directory) {
  struct stat info {};
  return ::lstat(directory.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == ::geteuid();
}

}  // namespace

std::vector<std::string> segment_directories() {
  const char* named = std::getenv("ASYNCTRACE_DIR");
  std::string wanted = named == nullptr || *named == '\0' ? "" : fs::absolute(named).string();
  std::vector<std::string> paths;
  char path[PATH_MAX];
  for (unsigned n = 0; segment_dir_candidate(n, wanted.empty() ? nullptr : wanted.c_str(), path, sizeof path);
       n++) {
    paths.emplace_back(path);
  }
  return paths;
}

Result<std::string> choose_segment_directory() {
  std::string reasons;
  for (const std::string& directory : segment_directories()) {
    char path[PATH_MAX];
    if (choose_segment_dir(directory.c_str(), path, sizeof path)) return directory;
    const char* reason =
        errno == EPERM ? "not a directory of this user alone (mode 0700)" : std::strerror(errno);
    reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", directory, reason);
  }
  return fail(fmt::format("no directory for segment files: {}", reasons),
              "set ASYNCTRACE_DIR to a directory of your own with mode 0700 and some room", 125);
}

std::vector<std::string> list_segment_files() {
  std::vector<std::string> files;
  for (const std::string& directory : segment_directories()) {
    if (!is_ours(directory)) continue;
    std::error_code error;
    for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
         entry.increment(error)) {
      std::error_code ignored;
      if (entry->path().extension() == segment::kFileSuffix && entry->is_regular_file(ignored)) {
        files.push_back(entry->path().string());
      }
    }
  }
  return files;
}

}  // namespace asynctrace
