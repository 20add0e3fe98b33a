#include "cli/process/mappings.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

namespace asynctrace {
namespace {

std::string_view next_word(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  const std::string_view word = text.substr(0, text.find(' '));
  text.remove_prefix(word.size());
  return word;
}

std::optional<uint64_t> number(std::string_view text, int base) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<Mapping> parse_line(std::string_view line) {
  const std::string_view range = next_word(line), rights = next_word(line);
  const size_t dash = range.find('-');
  if (dash == std::string_view::npos || rights.size() != 4) return std::nullopt;
  const auto start = number(range.substr(0, dash), 16), end = number(range.substr(dash + 1), 16);
  const auto offset = number(next_word(line), 16);
  if (!start || !end || !offset || *start >= *end) return std::nullopt;
  next_word(line);  // device
  const auto inode = number(next_word(line), 10);
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  return Mapping{*start,           *end,
                 *offset,          rights[0] == 'r',
                 rights[1] == 'w', rights[2] == 'x',
                 rights[3] == 's', unescape_newlines(line),
                 inode.value_or(0)};
}

}  // namespace

std::string unescape_newlines(std::string_view path) {
  std::string result;
  for (size_t i = 0; i < path.size();) {
    const bool newline = path.substr(i, 4) == "\\012";
    result += newline ? '\n' : path[i];
    i += newline ? 4 : 1;
  }
  return result;
}

std::vector<Mapping> parse_mappings(std::string_view maps) {
  std::vector<Mapping> found;
  while (!maps.empty()) {
    const std::string_view line = maps.substr(0, maps.find('\n'));
    maps.remove_prefix(std::min(line.size() + 1, maps.size()));
    if (auto mapping = parse_line(line)) found.push_back(std::move(*mapping));
  }
  return found;
}

}  // namespace asynctrace
