// Where symbols are looked for besides the paths that a process had loaded. Plain data.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace asynctrace {

struct SymbolOptions {
  std::vector<std::string> debug_dirs;  // searched by build-id, see module_files.hpp
  std::string sysroot;                  // paths of modules lie below it; "": they are as they stand
  bool debuginfod = false;              // ask the servers of $DEBUGINFOD_URLS for what is not found
  std::string cache_directory;          // "": nothing is kept, see symbol_cache.hpp
  std::string cache_stamp;              // of who works the symbols out: its version
  // What took less than this to work out is not worth a file.
  std::chrono::nanoseconds cache_from = std::chrono::milliseconds(20);
};

}  // namespace asynctrace
