// DebuginfodClient: debug files and programs by build-id from the servers of $DEBUGINFOD_URLS. Blocks for the
// network, at most kTimeLimit in all; Ctrl-C ends the waiting. After either nothing more is asked. Progress
// goes to stderr where that is a terminal. libdebuginfod is loaded when it is asked for: it brings twenty
// libraries along, which every start would have to pay for.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "cli/error.hpp"

namespace asynctrace {

class DebuginfodClient {
 public:
  static constexpr std::chrono::seconds kTimeLimit{120};

  // Errors: no server is named, or the library is missing.
  static Result<std::unique_ptr<DebuginfodClient>> open();
  ~DebuginfodClient();

  // The path of the file, which lies in libdebuginfod's own cache; "": no server has it, or none is asked.
  std::string find_debug_file(std::span<const uint8_t> build_id);
  std::string find_executable(std::span<const uint8_t> build_id);

 private:
  struct Impl;
  explicit DebuginfodClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace asynctrace
