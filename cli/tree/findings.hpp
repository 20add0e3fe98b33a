// What a reader of a hung program should look at, most telling first: the short list that reports for CI
// systems are made of.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/tree/report.hpp"

namespace asynctrace {

struct Finding {
  bool is_suspect = false;
  std::string_view kind;  // the suspect's, "crash" or "waiting"
  std::string evidence;   // "nothing can wake it", "waiting for mpsc recv"
  const Group* group = nullptr;
  // Index into Report::frames: the innermost function of the user on the way to the leaf, if its line is
  // known.
  std::optional<uint32_t> frame;
};

// The crash; suspects; what waits inside, oldest first; where block_on's own futures wait. What waits outside
// is listed only if there is nothing else. Refers to the report.
std::vector<Finding> find_findings(const Report& report);

// Name of the thread on which all tasks of the group run: of a block_on, and of what it polls on its own
// thread. "" where that is not one thread, and where the name is only that of the program. Test harnesses
// name their threads after the tests, cut to 15 characters.
std::string_view thread_name(const Group& group, const Report& report);

const ReportTask* find_task(const Report& report, uint64_t id);

}  // namespace asynctrace
