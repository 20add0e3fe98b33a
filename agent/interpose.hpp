// For functions of libc that the agent stands before (LD_PRELOAD).
#pragma once

#include <dlfcn.h>

#define ASYNCTRACE_EXPORT extern "C" __attribute__((visibility("default")))

namespace asynctrace::agent {

// The one of libc, for the agent stands before dlsym as well.
inline auto real_dlsym() {
  static decltype(&::dlsym) function = nullptr;
  if (function == nullptr)
    function = reinterpret_cast<decltype(function)>(dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34"));
  return function;
}

// The function that `name` would be without the agent, looked up once. Before its constructor too: another
// library's may run first.
template <typename F>
F real(F& function, const char* name) {
  if (function == nullptr) function = reinterpret_cast<F>(real_dlsym()(RTLD_NEXT, name));
  return function;
}

}  // namespace asynctrace::agent
