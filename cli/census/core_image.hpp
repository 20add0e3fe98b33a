// CoreImage: what a core file tells of a process: memory, mappings, threads, and how it ended. Written by the
// kernel or by gcore. 64-bit little endian, Linux. Trusts nothing in the file. Allocates; reads the file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/census/process_image.hpp"
#include "cli/error.hpp"

namespace asynctrace {

struct CoreImage {
  ProcessImage process;
  uint32_t pid = 0;
  std::string arguments;                // of the command, as far as the kernel keeps them; "": unknown
  std::optional<size_t> program;        // index into process.modules: what was executed
  int signal = 0;                       // that it died of; 0: none, say of gcore
  std::optional<uint32_t> crashed_tid;  // the thread that it struck
  int64_t written_realtime_ns = 0;      // since 1970
  bool is_cut = false;                  // the file ends before what it should hold
};

// Whether a file looks like one, by its first bytes.
bool is_core_file(const std::string& path);

Result<CoreImage> open_core_image(const std::string& path);

}  // namespace asynctrace
