#include "common/segment_dir.hpp"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/segment.hpp"

namespace asynctrace {
namespace {

constexpr uint64_t kRoom = 4u << 20;

// Appends formatted text; false once `path` is full.
template <typename... Args>
bool append(char* path, size_t size, const char* format, Args... args) {
  const size_t length = strlen(path);
  const int n = snprintf(path + length, size - length, format, args...);
  return n >= 0 && static_cast<size_t>(n) < size - length;
}

int create(const char* path) {
  return open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

bool usable(const char* path) {
  if (mkdir(path, 0700) != 0 && errno != EEXIST) return false;
  struct stat info;
  if (lstat(path, &info) != 0) return false;
  if (!S_ISDIR(info.st_mode) || info.st_uid != geteuid() || (info.st_mode & 0077) != 0) {
    errno = EPERM;
    return false;
  }
  struct statvfs room;
  if (access(path, W_OK | X_OK) != 0 || statvfs(path, &room) != 0) return false;
  if (uint64_t{room.f_bavail} * room.f_frsize < kRoom) {
    errno = ENOSPC;
    return false;
  }
  return true;
}

}  // namespace

bool segment_dir_candidate(unsigned n, const char* wanted, char* path, size_t size) {
  path[0] = '\0';
  if (wanted != nullptr) return n == 0 && append(path, size, "%s", wanted);
  const char* runtime_dir = getenv("XDG_RUNTIME_DIR");
  const bool has_runtime_dir = runtime_dir != nullptr && *runtime_dir == '/';
  if (!has_runtime_dir) n++;
  switch (n) {
    case 0: return append(path, size, "%s/asynctrace", runtime_dir);
    case 1: return append(path, size, "/dev/shm/asynctrace-%u", geteuid());
    case 2: return append(path, size, "/tmp/asynctrace-%u", geteuid());
    default: return false;
  }
}

bool choose_segment_dir(const char* wanted, char* path, size_t size) {
  for (unsigned n = 0; segment_dir_candidate(n, wanted, path, size); n++)
    if (usable(path)) return true;
  return false;
}

int open_in_dir(const char* directory, const SegmentName& name, char* path, size_t size) {
  path[0] = '\0';
  const bool fits = append(path, size, "%s/%s.%u.%s%s%016llx%s", directory, name.exe, name.pid,
                           name.run_id != nullptr ? name.run_id : "", name.run_id != nullptr ? "-" : "",
                           static_cast<unsigned long long>(name.nonce), segment::kFileSuffix);
  if (!fits) {
    errno = ENAMETOOLONG;
    return -1;
  }
  return create(path);
}

int open_output(const char* pattern, const SegmentName& name, char* path, size_t size) {
  path[0] = '\0';
  bool fits = true;
  for (const char* p = pattern; fits && *p != '\0'; p++) {
    const char escaped = *p == '%' ? p[1] : '\0';
    if (escaped == 'e') fits = append(path, size, "%s", name.exe);
    else if (escaped == 'p') fits = append(path, size, "%u", name.pid);
    else fits = append(path, size, "%c", *p);
    if (escaped == 'e' || escaped == 'p' || escaped == '%') p++;
  }
  if (!fits) {
    errno = ENAMETOOLONG;
    return -1;
  }
  int fd = create(path);
  if (fd < 0 && errno == EEXIST && append(path, size, ".%u", name.pid)) fd = create(path);
  if (fd < 0 && errno == EEXIST &&
      append(path, size, ".%016llx", static_cast<unsigned long long>(name.nonce)))
    fd = create(path);
  return fd;
}

}  // namespace asynctrace
