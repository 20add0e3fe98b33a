// StatusFile: /proc/PID/status as of one reading. A field that is not there, as on an older kernel or of a
// process that is gone, is empty.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "cli/process/file_descriptor.hpp"

namespace asynctrace {

class StatusFile {
 public:
  static StatusFile read(pid_t pid) {
    return StatusFile(read_file(fmt::format("/proc/{}/status", pid)).value_or(""));
  }

  std::string text(std::string_view name) const {
    const std::string field = fmt::format("\n{}:", name);
    const size_t line = text_.find(field);
    if (line == std::string::npos) return {};
    const size_t value = text_.find_first_not_of(" \t", line + field.size());
    return value != std::string::npos ? text_.substr(value, text_.find('\n', value) - value) : "";
  }
  uint64_t hex(std::string_view name) const { return std::strtoull(text(name).c_str(), nullptr, 16); }
  // The real one of "Uid" or "Gid".
  std::string first_id(std::string_view name) const {
    const std::string ids = text(name);
    return ids.substr(0, ids.find('\t'));
  }

 private:
  explicit StatusFile(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

}  // namespace asynctrace
