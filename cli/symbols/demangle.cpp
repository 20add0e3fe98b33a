#include "cli/symbols/demangle.hpp"

#include <libiberty/demangle.h>

#include <cstdlib>
#include <memory>
#include <string_view>

namespace asynctrace {

namespace {

using CString = std::unique_ptr<char, decltype(&std::free)>;

// What compilers append to the name of a copy they made: ".llvm.123", ".part.0", ".cold". A mangled C++ name
// holds no dot of its own; other names may (Go, legacy Rust), and lose LLVM's suffix only.
std::string without_clone_suffix(const std::string& name) {
  size_t at = name.rfind(".llvm.");
  if (at != std::string::npos && name.find_first_not_of("0123456789ABCDEF", at + 6) != std::string::npos) {
    at = std::string::npos;
  }
  return name.substr(0, at);
}

}  // namespace

std::string coroutine_of(const std::string& name) {
  constexpr std::string_view kFrame = ".Frame";
  const size_t end = name.find(kFrame);
  if (end == std::string::npos) return {};
  for (size_t start = name.find("_Z", 2); start < end; start = name.find("_Z", start + 1)) {
    const std::string length = std::to_string(end + kFrame.size() - start);
    if (start >= length.size() && name.compare(start - length.size(), length.size(), length) == 0)
      return name.substr(start, end - start);
  }
  return {};
}

std::string demangle(const std::string& linkage_name) {
  const std::string name = without_clone_suffix(linkage_name);
  // Rust first: its legacy names are valid C++ names too, with the hash as the innermost component.
  CString text(rust_demangle(name.c_str(), DMGL_NO_OPTS), &std::free);
  if (!text && name.starts_with("_Z")) {
    const std::string coroutine = coroutine_of(name);
    const std::string plain = coroutine.empty() ? name.substr(0, name.find('.')) : coroutine;
    text.reset(cplus_demangle_v3(plain.c_str(), DMGL_PARAMS | DMGL_ANSI | DMGL_RET_DROP));
  }
  return text ? std::string(text.get()) : name;
}

}  // namespace asynctrace
