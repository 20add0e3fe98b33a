// ReportIn: the small file into which the agent of run's direct child says, from its constructor, whether it
// is up. Layout, shared with the agent: 64 bytes; 0..3 its pid (uint32), 4 the status, 5.. a reason text for
// kOff, zero-terminated or up to the end. All zero until the agent writes.
#pragma once

#include <optional>
#include <string>

#include "cli/error.hpp"

namespace asynctrace {

enum class AgentStatus : unsigned char {
  kLoaded = 1,   // in the process, no runtime found (yet)
  kTracing = 2,  // its segment exists
  kOff = 3,      // it turned itself off, see reason
};

struct AgentReport {
  AgentStatus status;
  std::string reason;
};

class ReportIn {
 public:
  // Makes an empty record in `directory`, named after this process and `run_id`.
  static Result<ReportIn> create(const std::string& directory, const std::string& run_id);
  ReportIn(ReportIn&& other) noexcept;
  ReportIn& operator=(ReportIn&&) = delete;
  ~ReportIn();  // removes the file

  const std::string& path() const { return path_; }
  // Nothing until the agent has reported in; what it last said otherwise.
  std::optional<AgentReport> read() const;

 private:
  explicit ReportIn(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// The bytes of such a file.
std::optional<AgentReport> parse_agent_report(const std::string& bytes);

}  // namespace asynctrace
