// Whose code a frame is. Paths decide where they are known: a crate may be called anything.
#include <algorithm>
#include <string>

#include "cli/tree/classify.hpp"
#include "cli/tree/names.hpp"

namespace asynctrace {
namespace {

// Sources that belong to the toolchain, its bundled crates included.
constexpr std::string_view kStdPathStarts[] = {"/rustc/",          "/usr/src/rustc-", "/rust/deps/",
                                               "/usr/include/c++", "/usr/lib/gcc/",   "/usr/lib/llvm-"};
constexpr std::string_view kStdPathParts[] = {"/rustlib/src/"};

// Sources of dependencies; kRuntimeCrates tells which of them are runtimes.
constexpr std::string_view kDependencyPaths[] = {"/cargo/registry/", "/.cargo/", "/git/checkouts/",
                                                 "/vendor/", "/usr/include/"};

constexpr std::string_view kStdCrates[] = {"core",           "alloc",       "std",     "proc_macro",
                                           "test",           "__gnu_cxx",   "__rustc", "compiler_builtins",
                                           "rustc_demangle", "panic_unwind"};

// Crates that poll, wake or register; their frames say what a leaf waits for, not where in the program.
constexpr std::string_view kRuntimeCrates[] = {"asio",
                                               "folly",
                                               "tokio",
                                               "tokio_util",
                                               "tokio_stream",
                                               "mio",
                                               "futures",
                                               "futures_util",
                                               "futures_core",
                                               "futures_channel",
                                               "futures_task",
                                               "futures_executor",
                                               "futures_sink",
                                               "futures_io",
                                               "futures_lite",
                                               "async_std",
                                               "async_io",
                                               "async_executor",
                                               "async_task",
                                               "async_lock",
                                               "async_channel",
                                               "async_global_executor",
                                               "async_process",
                                               "async_signal",
                                               "async_net",
                                               "async_fs",
                                               "event_listener",
                                               "smol",
                                               "polling",
                                               "blocking",
                                               "futures_timer",
                                               "pin_project",
                                               "pin_project_lite",
                                               "pin_utils"};

// Entry points without debug info, outermost on every thread.
constexpr std::string_view kStdFunctions[] = {
    "main",         "_start", "__libc_start_main", "__libc_start_call_main", "clone",
    "start_thread", "clone3", "thread_start"};

// Made by rustc itself, in no file.
constexpr std::string_view kStdFunctionStarts[] = {"__rust_", "rust_begin_unwind", "rust_panic",
                                                   "rust_eh_personality"};

constexpr std::string_view kStdModules[] = {"/libc.so", "/libc-",       "/libpthread", "/ld-linux",
                                            "[vdso]",   "/libgcc_s.so", "/libstdc++",  "/libm.so"};
constexpr std::string_view kSystemModules[] = {"/lib/", "/lib64/", "/usr/lib/"};

// The native API's own headers, wherever they are installed.
constexpr std::string_view kNativeHeaders[] = {"/include/asynctrace.h", "/include/asynctrace/"};

bool contains_any(std::string_view text, std::span<const std::string_view> parts) {
  return std::any_of(parts.begin(), parts.end(),
                     [&](std::string_view part) { return text.find(part) != std::string_view::npos; });
}

bool starts_with_any(std::string_view text, std::span<const std::string_view> starts) {
  return std::any_of(starts.begin(), starts.end(),
                     [&](std::string_view start) { return text.starts_with(start); });
}

bool is_one_of(std::string_view text, std::span<const std::string_view> names) {
  return std::find(names.begin(), names.end(), text) != names.end();
}

// The last identifier before the first "::" of a plain path.
std::string_view first_component(std::string_view path) {
  const size_t end = path.find("::");
  if (end == std::string_view::npos) return {};
  const size_t before = path.find_last_of(" &*([<", end);
  const size_t start = before == std::string_view::npos ? 0 : before + 1;
  return path.substr(start, end - start);
}

}  // namespace

std::string_view name(FrameClass frame_class) {
  constexpr std::string_view kNames[] = {"user", "library", "runtime", "std"};
  return kNames[static_cast<size_t>(frame_class)];
}

std::string_view crate_of(std::string_view function) {
  if (!function.starts_with('<')) {
    // Neither type arguments nor the parameters of a C++ function.
    return first_component(function.substr(0, std::min(function.find('<'), function.find('(', 1))));
  }
  // "<Type as Trait>::f" or "<Type>::f": the type tells, unless it is a bare parameter such as "&mut F".
  size_t depth = 0;
  size_t split = std::string_view::npos, end = function.size();
  for (size_t i = 0; i < function.size(); ++i) {
    if (function[i] == '<') ++depth;
    if (function[i] == '>' && function[i - 1] != '-' && --depth == 0) {
      end = i;
      break;
    }
    if (depth == 1 && split == std::string_view::npos && function.substr(i).starts_with(" as ")) split = i;
  }
  const std::string_view type = function.substr(1, std::min(split, end) - 1);
  std::string_view crate =
      type.starts_with('<') ? crate_of(type) : first_component(type.substr(0, type.find('<')));
  if (crate.empty() && split != std::string_view::npos) {
    const std::string_view trait = function.substr(split + 4, end - split - 4);
    crate = first_component(trait.substr(0, trait.find('<')));
  }
  return crate;
}

FrameClass classify_frame(const Frame& frame, std::string_view module_path) {
  const std::string_view function = plain_function(frame.function.empty() ? frame.raw : frame.function);
  const std::string_view crate = crate_of(function);
  if (is_one_of(crate, kStdCrates)) return FrameClass::kStd;
  if (starts_with_any(frame.file, kStdPathStarts) || contains_any(frame.file, kStdPathParts)) {
    return FrameClass::kStd;
  }
  if (is_one_of(crate, kRuntimeCrates) || function.starts_with("boost::asio::") ||
      contains_any(frame.file, kNativeHeaders))
    return FrameClass::kRuntime;
  if (contains_any(frame.file, kDependencyPaths)) return FrameClass::kLibrary;
  // Where the system's debug files are installed, its libraries have lines as well.
  if (contains_any(module_path, kStdModules)) return FrameClass::kStd;
  if (starts_with_any(module_path, kSystemModules)) return FrameClass::kLibrary;
  if (frame.file.empty() &&
      (is_one_of(function, kStdFunctions) || starts_with_any(function, kStdFunctionStarts))) {
    return FrameClass::kStd;
  }
  // An address in no symbol: nothing says that it is the user's.
  if (frame.file.empty() && function.empty()) return FrameClass::kLibrary;
  return FrameClass::kUser;
}

}  // namespace asynctrace
