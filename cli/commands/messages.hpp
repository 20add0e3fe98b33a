// Messages for people: to stderr, one line each, prefixed "asynctrace: ", escaped.
#pragma once

#include <string>
#include <string_view>

#include "cli/error.hpp"

namespace asynctrace {

void print_message(std::string_view text);
// The message, then the remedy on a line of its own.
void print_error(const Error& error);

// `text` as one word of a POSIX shell's command line; printable even where `text` is not (then in bash's
// $'..').
std::string shell_quote(std::string_view text);

}  // namespace asynctrace
