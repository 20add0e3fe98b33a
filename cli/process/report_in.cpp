#include "cli/process/report_in.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "cli/process/file_descriptor.hpp"

namespace asynctrace {
namespace {

constexpr size_t kRecordSize = 64;
constexpr size_t kStatusAt = 4;
constexpr size_t kReasonAt = 5;

}  // namespace

Result<ReportIn> ReportIn::create(const std::string& directory, const std::string& run_id) {
  std::string path = fmt::format("{}/run.{}.{}", directory, ::getpid(), run_id);
  FileDescriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  // The record exists from the outset, so that a full file system shows here and not inside the target.
  const char empty[kRecordSize] = {};
  if (!fd || ::write(fd.get(), empty, sizeof empty) != ssize_t{sizeof empty}) {
    int error = errno;
    if (fd) ::unlink(path.c_str());
    return fail(fmt::format("{}: {}", path, std::strerror(error)),
                "set ASYNCTRACE_DIR to a directory with room", 125);
  }
  return ReportIn(std::move(path));
}

ReportIn::ReportIn(ReportIn&& other) noexcept : path_(std::exchange(other.path_, "")) {}

ReportIn::~ReportIn() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

std::optional<AgentReport> ReportIn::read() const {
  return parse_agent_report(read_file(path_, kRecordSize).value_or(""));
}

std::optional<AgentReport> parse_agent_report(const std::string& bytes) {
  if (bytes.size() != kRecordSize) return std::nullopt;
  auto status = static_cast<unsigned char>(bytes[kStatusAt]);
  if (status < 1 || status > 3) return std::nullopt;
  std::string reason = bytes.substr(kReasonAt);
  return AgentReport{static_cast<AgentStatus>(status), reason.substr(0, reason.find('\0'))};
}

}  // namespace asynctrace
