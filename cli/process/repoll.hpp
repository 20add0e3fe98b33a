// RepollRequest: asks the runtimes of a live process to poll their tasks (segment::Repoll). From ask() to its
// end the answer lies in the segment, and others who ask wait. Writes two words of the segment file, no more.
#pragma once

#include "cli/error.hpp"
#include "cli/process/file_descriptor.hpp"
#include "cli/process/traced_process.hpp"
#include "cli/snapshot.hpp"

namespace asynctrace {

class RepollRequest {
 public:
  // Blocks until every runtime has answered, or has shown that it does not: 0.4 s where its loop does not
  // turn, 10 s where it does and the polls do not end; before, up to 15 s for others who ask. An error where
  // no runtime can answer.
  static Result<RepollRequest> ask(const TracedProcess& process);
  RepollRequest(RepollRequest&&) = default;
  ~RepollRequest();

  const Repoll& answer() const { return answer_; }

 private:
  RepollRequest(FileDescriptor file, uint32_t number) : file_(std::move(file)), number_(number) {}

  FileDescriptor file_;
  uint32_t number_;
  Repoll answer_;
};

}  // namespace asynctrace
