#include "cli/tree/names.hpp"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>

#include "cli/tree/source_paths.hpp"

namespace asynctrace {
namespace {

enum class Strip { kLastClosure, kAllClosures };

struct BodyName {
  std::string_view debug_name;  // prefix of DW_AT_name
  std::string_view shown;
  Strip strip;
};
constexpr BodyName kBodyNames[] = {
    {"{async_fn#", "async fn ", Strip::kLastClosure},
    {"{async_fn_", "async fn ", Strip::kLastClosure},
    {"{async fn body of ", "async fn ", Strip::kLastClosure},
    {"{async_block#", "async block in ", Strip::kAllClosures},
    {"{async_block_", "async block in ", Strip::kAllClosures},
    {"{async block@", "async block in ", Strip::kAllClosures},
    {"{async_closure#", "async closure in ", Strip::kAllClosures},
    {"{async_closure_", "async closure in ", Strip::kAllClosures},
    {"{async closure body of ", "async closure in ", Strip::kAllClosures},
    {"{coroutine#", "coroutine in ", Strip::kAllClosures},
    {"{generator#", "generator in ", Strip::kAllClosures},
};

const BodyName* find_body(std::string_view debug_name) {
  for (const BodyName& row : kBodyNames) {
    if (debug_name.starts_with(row.debug_name)) return &row;
  }
  return nullptr;
}

bool is_identifier(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '$';
}

// Removes a trailing "::{{closure}}", "::{closure#0}", "::{async_fn#0}<T>"; false if there is none.
bool strip_closure(std::string_view& path) {
  const size_t start = path.rfind("::{");
  if (start == std::string_view::npos) return false;
  const std::string_view last = path.substr(start + 2);
  const size_t close = last.find('}');
  if (close == std::string_view::npos) return false;
  const bool doubled = last.starts_with("{{");
  const std::string_view rest = last.substr(std::min(last.size(), close + (doubled ? 2 : 1)));
  if (!rest.empty() && rest.front() != '<') return false;
  path = path.substr(0, start);
  return true;
}

std::string_view file_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

// Where a dependency's sources start; what follows is "crate-version/src/..".
constexpr std::string_view kCrateRoots[] = {"/usr/share/cargo/registry/", "/cargo/registry/src/",
                                            "/.cargo/registry/src/", "/git/checkouts/", "/vendor/"};

std::string_view short_path(std::string_view file, std::string_view root) {
  if (const std::string_view relative = path_in(root, file); !relative.empty()) return relative;
  if (file.starts_with("/rustc/")) {
    const size_t hash_end = file.find('/', 7);
    return hash_end == std::string_view::npos ? file : file.substr(hash_end + 1);
  }
  for (const std::string_view root : kCrateRoots) {
    const size_t at = file.rfind(root);
    if (at == std::string_view::npos) continue;
    std::string_view rest = file.substr(at + root.size());
    // cargo's own cache has one more directory, named after the registry's index.
    const size_t index_end = rest.find('/');
    if (root.ends_with("registry/src/") && index_end != std::string_view::npos)
      rest = rest.substr(index_end + 1);
    return rest;
  }
  const size_t source = file.rfind("/src/");
  return source == std::string_view::npos ? file : file.substr(source + 1);
}

}  // namespace

std::string_view plain_function(std::string_view function) {
  if (const size_t suffix = function.find(" (."); suffix != std::string_view::npos) {
    function = function.substr(0, suffix);
  }
  constexpr size_t kHash = 19;  // "::h" and 16 hexadecimal digits
  if (function.size() > kHash && function.substr(function.size() - kHash, 3) == "::h" &&
      std::all_of(function.end() - 16, function.end(),
                  [](unsigned char c) { return std::isxdigit(c) != 0; })) {
    function.remove_suffix(kHash);
  }
  return function;
}

std::string without_generics(std::string_view function) {
  std::string result;
  result.reserve(function.size());
  size_t skipped = 0;  // depth inside generic arguments
  for (size_t i = 0; i < function.size(); ++i) {
    const char c = function[i];
    const bool arrow = c == '>' && i > 0 && function[i - 1] == '-';
    if (skipped > 0) {
      if (c == '<') ++skipped;
      if (c == '>' && !arrow) --skipped;
      continue;
    }
    if (c == '<' && !result.empty() && (is_identifier(result.back()) || result.back() == ':')) {
      if (result.ends_with("::")) result.resize(result.size() - 2);
      skipped = 1;
      continue;
    }
    result.push_back(c);
  }
  return result;
}

bool is_async_body(std::string_view debug_name) {
  return find_body(debug_name) != nullptr;
}

std::string display_name(const Frame& frame, std::string_view module_path) {
  std::string_view name = plain_function(frame.function.empty() ? frame.raw : frame.function);
  if (name.empty()) {
    if (module_path.empty()) return fmt::format("0x{:x}", frame.offset);
    return fmt::format("{}+0x{:x}", file_name(module_path), frame.offset);
  }
  const BodyName* body = find_body(frame.debug_name);
  if (body == nullptr) return std::string(name);
  while (strip_closure(name) && body->strip == Strip::kAllClosures) {
  }
  return fmt::format("{}{}", body->shown, name);
}

std::string display_position(const Frame& frame, std::string_view file, std::string_view root) {
  if (file.empty() || frame.line == 0) return {};
  const std::string_view path = short_path(file, root);
  if (frame.column == 0) return fmt::format("{}:{}", path, frame.line);
  return fmt::format("{}:{}:{}", path, frame.line, frame.column);
}

}  // namespace asynctrace
