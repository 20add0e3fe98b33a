// For functions of libc that the agent stands before: by LD_PRELOAD, or by import slots (imports.hpp).
#pragma once

#include <dlfcn.h>

#include <atomic>

#define ASYNCTRACE_EXPORT extern "C" __attribute__((visibility("default")))

// For what a sanitizer's runtime calls while it starts.
#define ASYNCTRACE_UNSANITIZED __attribute__((no_sanitize("thread"), no_sanitize("address")))

namespace asynctrace::agent {

// Where the functions are that the agent stands before: behind it (LD_PRELOAD), or, where it came later than
// libc and only import slots lead to it, wherever the program finds them.
inline void* g_real_scope = RTLD_NEXT;

// Not preloaded: see redirect_imports().
inline bool came_late() {
  return g_real_scope != RTLD_NEXT;
}

// The one of libc, for the agent stands before dlsym as well.
ASYNCTRACE_UNSANITIZED inline auto real_dlsym() {
  static decltype(&::dlsym) function = nullptr;
  if (function == nullptr)
    function = reinterpret_cast<decltype(function)>(dlvsym(g_real_scope, "dlsym", "GLIBC_2.34"));
  return function;
}

// The function that `name` would be without the agent, looked up once. Before its constructor too: another
// library's may run first.
template <typename F>
F real(F& function, const char* name) {
  const std::atomic_ref<F> known(function);
  if (known.load(std::memory_order_relaxed) == nullptr)
    known.store(reinterpret_cast<F>(real_dlsym()(g_real_scope, name)), std::memory_order_relaxed);
  return known.load(std::memory_order_relaxed);
}

}  // namespace asynctrace::agent
