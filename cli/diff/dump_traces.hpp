// DumpTraces: what a dump in JSON (schema asynctrace.dump/1) tells of its tasks, for comparing it with
// another. The file may come from anywhere: what does not fit the schema is an error, and all text is
// printable.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/error.hpp"
#include "cli/tree/source_paths.hpp"

namespace asynctrace {

// Tasks that wait at the same place.
struct DumpTrace {
  std::vector<std::string> lines;  // drawn, the user's own frames
  std::vector<uint64_t> tasks;     // ids, ascending
};

struct DumpTraces {
  std::string exe, start_time, captured_at, ended_at;  // times as in the dump, "" if unknown
  std::string state;
  uint32_t pid = 0;
  // The moment that the dump shows, in ms since 1970: when it was read, or when the process ended.
  std::optional<int64_t> shown_ms;
  size_t task_count = 0;  // as dumps count them: without workers
  struct Known {
    std::string address;
    std::optional<uint64_t> polls;  // unset: they are not seen
    bool operator==(const Known&) const = default;
  };
  std::map<uint64_t, Known> tasks;  // all of them, by id
  std::vector<DumpTrace> traces;    // of those that wait, in the order of the dump, suspects last
};

// `name` is for messages. `number`: which of the dumps that follow one another in `text`, from 1 on; 0: the
// only one.
Result<DumpTraces> parse_dump(const std::string& text, const std::string& name, size_t number,
                              const SourcePaths& sources);

}  // namespace asynctrace
