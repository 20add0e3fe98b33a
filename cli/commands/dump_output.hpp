// DumpOutput: where dumps go, each through one of the renderers.
#pragma once

#include <memory>
#include <ostream>
#include <streambuf>
#include <string>

#include "cli/commands/options.hpp"
#include "cli/commands/process_report.hpp"
#include "cli/error.hpp"
#include "cli/process/traced_process.hpp"
#include "cli/tree/report.hpp"

namespace asynctrace {

class DumpOutput {
 public:
  // Onto an open descriptor, which stays open; `name` is for messages.
  static Result<DumpOutput> to_descriptor(int fd, std::string name, const DumpForm& form);
  // Into a file, emptied first.
  static Result<DumpOutput> to_file(const std::string& path, const DumpForm& form);
  DumpOutput(DumpOutput&&) = default;
  ~DumpOutput();

  Result<void> write(const ProcessReport& process);
  // Reads, then writes it. `reason` as read_report() has it.
  Result<void> write(const TracedProcess& process, const std::string& reason);

 private:
  void render(const Report& report, const std::string& reason, std::ostream& out);
  DumpOutput(int owned_fd, std::string name, const DumpForm& form);

  std::unique_ptr<std::streambuf> buffer_;
  std::string name_;
  DumpForm form_;
  bool terminal_ = false;
  bool colour_ = false;
  size_t written_ = 0;
};

}  // namespace asynctrace
