// demangle: linkage name -> the name a programmer wrote. Rust (legacy and v0) and C++ through libiberty.
// Allocates; pure, any thread.
#pragma once

#include <string>

namespace asynctrace {

// Rust without the legacy hash and crate disambiguators, C++ with parameters but without the return type; a
// name that is not mangled comes back unchanged. `.llvm.N` suffixes are dropped in either case.
std::string demangle(const std::string& linkage_name);

// The linkage name of the coroutine that gcc made this function or type of: its body is called
// "f(Frame*) [clone .actor]", where Frame is a local type of f, called as f's own linkage name and ".Frame".
// "": of none.
std::string coroutine_of(const std::string& linkage_name);

}  // namespace asynctrace
