#include "agent/proc_files.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace asynctrace::agent {

size_t read_file(const char* path, char* buffer, size_t size) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  size_t length = 0;
  while (length < size) {
    const ssize_t n = read(fd, buffer + length, size - length);
    if (n <= 0) break;
    length += static_cast<size_t>(n);
  }
  close(fd);
  return length;
}

size_t read_exe_path(char* buffer, size_t size) {
  const ssize_t n = readlink("/proc/self/exe", buffer, size - 1);
  const size_t length = n > 0 ? static_cast<size_t>(n) : 0;
  buffer[length] = '\0';
  return length;
}

size_t read_cmdline(char* buffer, size_t size) {
  return read_file("/proc/self/cmdline", buffer, size);
}

uint64_t read_start_time() {
  static char text[1024];  // only SegmentWriter::create() comes here, one thread at a time
  const size_t length = read_file("/proc/self/stat", text, sizeof(text) - 1);
  text[length] = '\0';
  // The second field is the program's name in parentheses and may itself hold spaces and parentheses.
  const char* field = strrchr(text, ')');
  for (int number = 2; field != nullptr && number < 22; number++) field = strchr(field + 1, ' ');
  return field != nullptr ? strtoull(field + 1, nullptr, 10) : 0;
}

void read_boot_id(char* buffer, size_t size) {
  size_t length = read_file("/proc/sys/kernel/random/boot_id", buffer, size - 1);
  while (length > 0 && buffer[length - 1] == '\n') length--;
  buffer[length] = '\0';
}

}  // namespace asynctrace::agent
