// Pieces of the texts in /proc. Views into what they are given; nothing is believed.
#pragma once

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

namespace asynctrace {

// Of the whole text; nothing where it is something else, or too great.
template <typename T>
std::optional<T> whole_number(std::string_view text, int base = 10) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Cuts off the text up to `separator`, which is in neither part.
inline std::string_view cut(std::string_view& text, char separator) {
  const std::string_view part = text.substr(0, text.find(separator));
  text.remove_prefix(std::min(part.size() + 1, text.size()));
  return part;
}

// Cuts off the next word; spaces and tabs part them.
inline std::string_view cut_word(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  const std::string_view word = text.substr(0, text.find_first_of(" \t"));
  text.remove_prefix(word.size());
  return word;
}

}  // namespace asynctrace
