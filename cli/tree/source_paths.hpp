// Where the reader finds the sources: a program may have been built in another directory, on another machine.
// Pure functions of their arguments.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace asynctrace {

struct SourcePrefix {
  std::string from, to;
};

struct SourcePaths {
  std::vector<SourcePrefix> replaced;  // the first that fits is used
  std::string root;                    // of the repository; paths below it are shown relative to it. "": none
};

// `file` as it is called here: its prefix replaced, "." and ".." resolved. Only whole components match.
std::string map_source(std::string_view file, const SourcePaths& paths);

// `file` relative to `root`; "" where it does not lie below. A relative path is taken to be in the root.
std::string_view path_in(std::string_view root, std::string_view file);

}  // namespace asynctrace
