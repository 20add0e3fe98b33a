#include "cli/symbols/demangle.hpp"

#include <libiberty/demangle.h>

#include <cstdlib>
#include <memory>

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

std::string demangle(const std::string& linkage_name) {
  const std::string name = without_clone_suffix(linkage_name);
  // Rust first: its legacy names are valid C++ names too, with the hash as the innermost component.
  CString text(rust_demangle(name.c_str(), DMGL_NO_OPTS), &std::free);
  if (!text && name.starts_with("_Z")) {
    const std::string plain = name.substr(0, name.find('.'));
    text.reset(cplus_demangle_v3(plain.c_str(), DMGL_PARAMS | DMGL_ANSI | DMGL_RET_DROP));
  }
  return text ? std::string(text.get()) : name;
}

}  // namespace asynctrace
