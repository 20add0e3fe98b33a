// A user's file of hooks (TOML): functions of a poll loop's library that the agent does not know by itself,
// see README. Reads and checks it; errors name the file, the line and what may stand there.
#pragma once

#include <string>

#include "cli/error.hpp"

namespace asynctrace {

// The rows as the agent takes them, see common/loop_hooks.hpp. Of the file at `path`, never empty; "" where
// no file is named, that is, where `path` is "".
Result<std::string> read_hooks(const std::string& path);

// The same of its text; `name` is what errors call it.
Result<std::string> parse_hooks(const std::string& text, const std::string& name);

}  // namespace asynctrace
