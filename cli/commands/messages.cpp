#include "cli/commands/messages.hpp"

#include <algorithm>
#include <cctype>
#include <cstdio>

#include <fmt/format.h>

#include "cli/render/escape.hpp"

namespace asynctrace {
namespace {

// In one write, so that lines of several processes on one terminal do not mix.
void print_line(std::string_view prefix, const std::string& text) {
  std::string line = fmt::format("{}{}\n", prefix, text);
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace

void print_message(std::string_view text) {
  print_line("asynctrace: ", std::string(text));
}

void print_error(const Error& error) {
  print_line("asynctrace: ", escape(error.message));
  if (!error.remedy.empty()) print_line("asynctrace: remedy: ", escape(error.remedy));
}

std::string shell_quote(std::string_view text) {
  auto is_plain = [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("%+,-./:=@_").find(static_cast<char>(c)) != std::string_view::npos;
  };
  auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
  if (!text.empty() && std::all_of(text.begin(), text.end(), is_plain)) return std::string(text);
  bool ansi =
      escape(text).find("\\x") != std::string::npos || std::any_of(text.begin(), text.end(), is_control);
  std::string quoted = ansi ? "$'" : "'";
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (ansi && (byte < 0x20 || byte >= 0x7f)) {
      quoted += fmt::format("\\x{:02x}", byte);
    } else if (ansi && (c == '\'' || c == '\\')) {
      quoted += fmt::format("\\{}", c);
    } else if (c == '\'') {
      quoted += "'\\''";
    } else {
      quoted += c;
    }
  }
  return quoted + "'";
}

}  // namespace asynctrace
