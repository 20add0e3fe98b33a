#include "cli/render/github.hpp"

#include <string>
#include <string_view>

#include <fmt/format.h>

#include "cli/render/phrases.hpp"

namespace asynctrace {
namespace {

constexpr size_t kAnnotations = 10;
constexpr size_t kMessage = 4000;  // bytes, so never more characters

std::string percent_encoded(std::string_view text, std::string_view special) {
  std::string result;
  for (const char c : text) {
    if (special.find(c) != std::string_view::npos)
      result += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    else result += c;
  }
  return result;
}

std::string property(std::string_view name, std::string_view value) {
  return fmt::format("{}={}", name, percent_encoded(value, "%\r\n:,"));
}

// Whole lines only.
std::string cut(std::string text) {
  constexpr std::string_view kMore = "...";
  if (text.size() <= kMessage) return text;
  text.resize(kMessage - kMore.size());
  const size_t line = text.rfind('\n');
  text.resize(line == std::string::npos ? 0 : line + 1);
  return text + std::string(kMore);
}

std::string command(const MergedFinding& merged) {
  const SourceLine source = source_line(merged.finding, *merged.report);
  std::string properties;
  if (!source.file.empty()) {
    properties =
        fmt::format("{},{},", property("file", source.file), property("line", std::to_string(source.line)));
    if (source.column != 0) properties += property("col", std::to_string(source.column)) + ',';
  }
  properties += property("title", "asynctrace: " + where(merged.finding, *merged.report));
  std::string message = sentence(merged) + '\n' + draw(*merged.finding.group, *merged.report);
  if (message.ends_with('\n')) message.pop_back();
  return fmt::format("::{} {}::{}\n", merged.finding.is_suspect ? "error" : "warning", properties,
                     percent_encoded(cut(std::move(message)), "%\r\n"));
}

}  // namespace

void render_github(const RunReport& run, std::ostream& out) {
  size_t errors = 0, warnings = 0;
  for (const MergedFinding& merged : merge_findings(run)) {
    size_t& count = merged.finding.is_suspect ? errors : warnings;
    if (count == kAnnotations) continue;
    // A command has to begin its line, and the program may have left one unfinished.
    if (errors + warnings == 0) out << '\n';
    ++count;
    out << command(merged);
  }
}

}  // namespace asynctrace
