#include "cli/render/escape.hpp"

#include <cstdint>

#include <fmt/format.h>

namespace asynctrace {
namespace {

struct Range {
  uint32_t first, last;
};
// Code points that act on a terminal, reorder or hide what stands near them.
constexpr Range kHidden[] = {
    {0x00, 0x1f},       {0x7f, 0x9f},      // controls
    {0xad, 0xad},                          // soft hyphen
    {0x61c, 0x61c},     {0x180e, 0x180e},  // Arabic letter mark, Mongolian vowel separator
    {0x200b, 0x200f},                      // zero width, left-to-right and right-to-left marks
    {0x2028, 0x202e},                      // line and paragraph separators, bidirectional embeddings
    {0x2060, 0x206f},                      // joiners, bidirectional isolates
    {0xfe00, 0xfe0f},   {0xfeff, 0xfeff},  // variation selectors, byte order mark
    {0xfff9, 0xfffb},                      // interlinear annotations
    {0xfffe, 0xffff},                      // no characters, and nothing that XML may hold
    {0xe0000, 0xe0fff},                    // tags
};

bool is_hidden(uint32_t code_point) {
  for (const Range& range : kHidden) {
    if (code_point >= range.first && code_point <= range.last) return true;
  }
  return false;
}

struct Decoded {
  uint32_t code_point = 0;
  size_t length = 0;  // 0: no valid sequence starts here
};

Decoded decode(std::string_view text) {
  struct Form {
    uint8_t mask, lead;
    size_t length;
    uint32_t smallest;
  };
  constexpr Form kForms[] = {
      {0x80, 0x00, 1, 0}, {0xe0, 0xc0, 2, 0x80}, {0xf0, 0xe0, 3, 0x800}, {0xf8, 0xf0, 4, 0x10000}};
  const auto lead = static_cast<uint8_t>(text.front());
  for (const Form& form : kForms) {
    if ((lead & form.mask) != form.lead) continue;
    if (text.size() < form.length) return {};
    uint32_t code_point = lead & static_cast<uint8_t>(~form.mask);
    for (size_t i = 1; i < form.length; ++i) {
      const auto next = static_cast<uint8_t>(text[i]);
      if ((next & 0xc0) != 0x80) return {};
      code_point = code_point << 6 | (next & 0x3f);
    }
    const bool surrogate = code_point >= 0xd800 && code_point <= 0xdfff;
    if (code_point < form.smallest || surrogate || code_point > 0x10ffff) return {};
    return {code_point, form.length};
  }
  return {};
}

}  // namespace

std::string escape(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const Decoded decoded = decode(text);
    const size_t length = decoded.length == 0 ? 1 : decoded.length;
    if (decoded.length == 0 || is_hidden(decoded.code_point)) {
      for (const char byte : text.substr(0, length)) {
        result += fmt::format("\\x{:02x}", static_cast<uint8_t>(byte));
      }
    } else if (decoded.code_point == '\\') {
      result += "\\\\";
    } else {
      result += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return result;
}

}  // namespace asynctrace
