#include "cli/coroutines/type_arguments.hpp"

namespace asynctrace {
namespace {

bool opens(char c) {
  return c == '<' || c == '(' || c == '{';
}
bool closes(std::string_view text, size_t at) {
  return text[at] == ')' || text[at] == '}' || (text[at] == '>' && (at == 0 || text[at - 1] != '-'));
}

}  // namespace

std::string_view arguments_at(std::string_view text, size_t open) {
  size_t depth = 0;
  for (size_t i = open; i < text.size(); ++i) {
    if (opens(text[i])) ++depth;
    if (closes(text, i) && --depth == 0) return text.substr(open + 1, i - open - 1);
  }
  return {};
}

std::vector<std::string_view> split_arguments(std::string_view arguments) {
  std::vector<std::string_view> parts;
  size_t depth = 0, start = 0;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (opens(arguments[i])) ++depth;
    if (closes(arguments, i)) depth -= depth > 0;
    if (arguments[i] != ',' || depth > 0) continue;
    parts.push_back(arguments.substr(start, i - start));
    start = i + 2;
  }
  if (start < arguments.size()) parts.push_back(arguments.substr(start));
  return parts;
}

}  // namespace asynctrace
