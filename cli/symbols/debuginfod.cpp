#include "cli/symbols/debuginfod.hpp"

#include <dlfcn.h>
#include <elfutils/debuginfod.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

#include "cli/process/file_descriptor.hpp"

namespace asynctrace {
namespace {

constexpr const char* kLibrary = "libdebuginfod.so.1";

volatile sig_atomic_t g_interrupted = 0;

// While it lives, Ctrl-C is ours.
class CatchInterrupt {
 public:
  CatchInterrupt() {
    g_interrupted = 0;
    struct sigaction ours {};
    ours.sa_handler = [](int) { g_interrupted = 1; };
    sigaction(SIGINT, &ours, &before_);
  }
  ~CatchInterrupt() { sigaction(SIGINT, &before_, nullptr); }
  CatchInterrupt(const CatchInterrupt&) = delete;
  CatchInterrupt& operator=(const CatchInterrupt&) = delete;

  // `run` keeps it blocked and reads it later.
  static bool happened() {
    sigset_t pending;
    return g_interrupted != 0 || (sigpending(&pending) == 0 && sigismember(&pending, SIGINT) == 1);
  }

 private:
  struct sigaction before_ {};
};

void say(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
}

}  // namespace

struct DebuginfodClient::Impl {
  using Clock = std::chrono::steady_clock;
  using Find = decltype(&debuginfod_find_debuginfo);

  void* library = nullptr;
  decltype(&debuginfod_begin) begin = nullptr;
  decltype(&debuginfod_end) end = nullptr;
  Find find_debuginfo = nullptr, find_executable = nullptr;
  decltype(&debuginfod_set_progressfn) set_progress = nullptr;
  decltype(&debuginfod_set_user_data) set_user_data = nullptr;
  decltype(&debuginfod_get_user_data) get_user_data = nullptr;
  debuginfod_client* client = nullptr;

  std::chrono::nanoseconds left = kTimeLimit;
  Clock::time_point deadline;
  bool terminal = false;
  bool shown = false;
  bool failed = false;  // and said so

  ~Impl() {
    if (client != nullptr) end(client);
    if (library != nullptr) dlclose(library);
  }

  template <typename Function>
  void load(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(library, name));
  }

  bool load_all() {
    library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return false;
    load(begin, "debuginfod_begin");
    load(end, "debuginfod_end");
    load(find_debuginfo, "debuginfod_find_debuginfo");
    load(find_executable, "debuginfod_find_executable");
    load(set_progress, "debuginfod_set_progressfn");
    load(set_user_data, "debuginfod_set_user_data");
    load(get_user_data, "debuginfod_get_user_data");
    return begin && end && find_debuginfo && find_executable && set_progress && set_user_data &&
           get_user_data;
  }

  // Nonzero ends the download.
  int progress(long done, long all) {
    if (terminal && done > 0) {
      say(fmt::format("\rasynctrace: debuginfod: {} of {} KiB, Ctrl-C goes on without ", done / 1024,
                      all > 0 ? all / 1024 : done / 1024));
      shown = true;
    }
    return CatchInterrupt::happened() || Clock::now() >= deadline ? 1 : 0;
  }

  std::string find(Find function, std::span<const uint8_t> id) {
    if (left <= left.zero()) return {};
    const CatchInterrupt interrupt;
    const Clock::time_point began = Clock::now();
    deadline = began + std::chrono::duration_cast<Clock::duration>(left);
    shown = false;
    char* path = nullptr;
    const int result = function(client, id.data(), static_cast<int>(id.size()), &path);
    const FileDescriptor file(result);
    const std::unique_ptr<char, decltype(&std::free)> owned(path, &std::free);
    left -= Clock::now() - began;
    if (shown) say("\r\033[K");
    if (CatchInterrupt::happened() || left <= left.zero()) {
      say(fmt::format("asynctrace: debuginfod: {}; going on without\n",
                      left <= left.zero() ? "it took too long" : "interrupted"));
      left = left.zero();
    } else if (result < 0 && result != -ENOENT && !failed) {
      failed = true;
      say(fmt::format("asynctrace: debuginfod: {}\n", std::strerror(-result)));
    }
    return file && path != nullptr ? path : "";
  }
};

DebuginfodClient::DebuginfodClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DebuginfodClient::~DebuginfodClient() = default;

Result<std::unique_ptr<DebuginfodClient>> DebuginfodClient::open() {
  const char* urls = std::getenv(DEBUGINFOD_URLS_ENV_VAR);
  if (urls == nullptr || *urls == '\0') {
    return fail("--debuginfod: no server is named",
                "set DEBUGINFOD_URLS to the servers to ask, as your distribution documents them", 2);
  }
  auto impl = std::make_unique<Impl>();
  if (!impl->load_all()) {
    return fail(fmt::format("--debuginfod: {} cannot be loaded", kLibrary), "apt-get install libdebuginfod1");
  }
  impl->client = impl->begin();
  if (impl->client == nullptr) return fail("--debuginfod: libdebuginfod cannot start");
  impl->terminal = ::isatty(STDERR_FILENO) == 1;
  // Its functions give no way to reach what is ours but this.
  static decltype(&debuginfod_get_user_data) get_user_data;
  get_user_data = impl->get_user_data;
  impl->set_user_data(impl->client, impl.get());
  impl->set_progress(impl->client, [](debuginfod_client* client, long done, long all) {
    return static_cast<Impl*>(get_user_data(client))->progress(done, all);
  });
  return std::unique_ptr<DebuginfodClient>(new DebuginfodClient(std::move(impl)));
}

std::string DebuginfodClient::find_debug_file(std::span<const uint8_t> id) {
  return impl_->find(impl_->find_debuginfo, id);
}

std::string DebuginfodClient::find_executable(std::span<const uint8_t> id) {
  return impl_->find(impl_->find_executable, id);
}

}  // namespace asynctrace
