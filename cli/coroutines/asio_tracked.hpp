// Operations that Asio itself has told the agent of, through asynctrace/asio.hpp: watchers with the function
// that completes them, whose stacks are those of their creation.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "cli/census/memory.hpp"
#include "cli/snapshot.hpp"
#include "cli/symbols/symbolizer.hpp"

namespace asynctrace {

inline bool is_tracked_operation(const Task& task) {
  return task.watcher && task.watcher->library == "asio";
}

// What its completing function calls instead of that, as an index into Snapshot::stacks; nothing: it resumes
// a coroutine.
void set_callback(Task& task, std::optional<uint32_t> stack);

// Whether the handler of the operation at `address` is one of a coroutine: of those whose promises, sorted,
// lie there.
bool resumes_one_of(const Memory& memory, uint64_t address, const std::vector<uint64_t>& promises);

// Says of each in plain words what it waits for and what it calls, as far as its function's name tells.
void name_tracked_operations(Snapshot& snapshot, Symbolizer& symbols);

}  // namespace asynctrace
