// What the watchers of poll loops wait for, in words.
#pragma once

#include <optional>
#include <string>

#include "cli/snapshot.hpp"

namespace asynctrace {

// Nothing where it waits for none, or none is known; a signal's number is none.
std::optional<int> descriptor_of(const Task& task, const Snapshot& snapshot);

// How long a time that it waits for has yet to come, where that is known; negative: it has come.
std::optional<int64_t> due_of(const Task& task, const Snapshot& snapshot);

// "tcp 127.0.0.1:80 <- 127.0.0.1:4711", "SIGHUP", "timer, due in 3.2s"; "" if unknown. Not escaped.
std::string resource_of(const Task& task, const Snapshot& snapshot);

// The same for a row: "fd 7: tcp 127.0.0.1:80 <- 127.0.0.1:4711", "fd 7", "SIGHUP", "due in 3.2s".
std::string resource_phrase(const Task& task, const Snapshot& snapshot);

}  // namespace asynctrace
