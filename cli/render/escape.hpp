// Escaping of names and paths that come from the target: what is printed can neither drive a terminal nor
// reorder its neighbours.
#pragma once

#include <string>
#include <string_view>

namespace asynctrace {

// Control characters, invalid UTF-8, line and paragraph separators, bidirectional controls and invisible
// characters become \xNN, byte by byte; a backslash becomes \\, so that the result is unambiguous.
std::string escape(std::string_view text);

}  // namespace asynctrace
