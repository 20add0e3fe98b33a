// Markdown, as GitHub and GitLab show it: a table of the findings, then the text of every process. What comes
// from the target can neither end its cell or block nor be taken for markup.
#pragma once

#include <cstddef>
#include <ostream>
#include <string>
#include <string_view>

#include "cli/render/run_report.hpp"

namespace asynctrace {

// Writes at most `limit` bytes; says so where something is left out.
void render_markdown(const RunReport& run, std::ostream& out, size_t limit = SIZE_MAX);

// `text`, escaped already, as code within a line or a table's cell.
std::string markdown_code(std::string_view text);

}  // namespace asynctrace
