#include "agent/config.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace asynctrace::agent {
namespace {

const char* get(const char* name) {
  const char* value = getenv(name);
  return value != nullptr && *value != '\0' ? value : nullptr;
}

}  // namespace

Config read_config() {
  Config config;
  config.output = get("ASYNCTRACE_OUTPUT");
  config.directory = get("ASYNCTRACE_DIR");
  config.run_id = get("ASYNCTRACE_RUN_ID");
  config.report_in = get("ASYNCTRACE_REPORT_IN");
  config.hook_rows = get("ASYNCTRACE_HOOK_ROWS");
  if (const char* pid = get("ASYNCTRACE_RUN_PID"))
    config.run_pid = static_cast<uint32_t>(strtoul(pid, nullptr, 10));
  if (const char* size = get("ASYNCTRACE_MAX_SIZE")) {
    char* end = nullptr;
    const uint64_t bytes = strtoull(size, &end, 10);
    if (*end == '\0' && bytes != 0) config.max_size = bytes;
  }
  const char* follow = get("ASYNCTRACE_FOLLOW");
  config.follow = follow == nullptr || strcmp(follow, "none") != 0;
  return config;
}

void report_in(const Config& config, ReportStatus status, const char* reason) {
  if (config.report_in == nullptr || config.run_pid != static_cast<uint32_t>(getpid())) return;
  struct {
    uint32_t pid;
    ReportStatus status;
    char reason[59];
  } record{config.run_pid, status, {}};
  static_assert(sizeof(record) == 64);
  strncpy(record.reason, reason, sizeof(record.reason) - 1);
  const int fd = open(config.report_in, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return;
  // A short write leaves the pid field zero or incomplete, which `run` reads as "did not report in".
  [[maybe_unused]] const ssize_t written = pwrite(fd, &record, sizeof(record), 0);
  close(fd);
}

}  // namespace asynctrace::agent
