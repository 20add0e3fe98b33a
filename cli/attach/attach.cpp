#include "cli/attach/attach.hpp"

#include <dlfcn.h>
#include <unistd.h>
#include <climits>
#include <cstring>
#include <optional>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "cli/attach/held_thread.hpp"
#include "cli/attach/loaded_files.hpp"
#include "cli/attach/target_memory.hpp"
#include "cli/attach/thread_choice.hpp"
#include "common/attach_call.hpp"
#include "common/segment.hpp"

namespace asynctrace {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kCallTime = std::chrono::seconds(5);
constexpr size_t kMaxWords = 1024;  // of the loader
static_assert(sizeof(AttachCall) <= kMaxCallData);

Error of_process(const PinnedProcess& process, std::string_view what, std::string remedy = {}) {
  return {fmt::format("process {} ({}): {}", process.pid(), process.name(), what), std::move(remedy)};
}

Error not_traced(const PinnedProcess& process) {
  return of_process(process, "it is not traced", fmt::format("asynctrace attach {}", process.pid()));
}

// What has to be known of a process before one of its threads is stopped.
struct Entrance {
  LoadedFiles files;
  uint64_t sigreturn;
  uint64_t load;                     // dlopen
  std::optional<uint64_t> function;  // of the agent, where it is there already

  const Mapping* agent() const { return files.library(segment::kAgentLibrary); }
  Places places() const {
    return {files, *files.library("libc.so.6"), files.library("ld-linux-x86-64.so.2"), sigreturn};
  }
};

// With nothing in `function` where the agent is there but cannot be called.
Result<Entrance> look_for_entrance(const PinnedProcess& process, const char* function) {
  auto files = LoadedFiles::read(process.pid());
  if (!files) return tl::unexpected(of_process(process, "it has ended"));
  const Mapping* libc = files->library("libc.so.6");
  if (libc == nullptr)
    return tl::unexpected(of_process(process, "the GNU C library is not in it (yet)", "try again"));
  const auto load = files->function(*libc, "dlopen");
  const auto sigreturn = files->find_code(*libc, sigreturn_code());
  if (!load || !sigreturn)
    return tl::unexpected(of_process(process, fmt::format("{} has no dlopen", libc->path),
                                     "asynctrace needs the GNU C library 2.34 or newer there"));
  Entrance entrance{std::move(*files), *sigreturn, *load, std::nullopt};
  const Mapping* agent = entrance.agent();
  if (agent != nullptr && entrance.files.number(*agent, kAttachReady).value_or(0) != 0)
    entrance.function = entrance.files.function(*agent, function);
  return entrance;
}

// Another attach, whose asynctrace may have been killed, may be at loading the agent.
Result<Entrance> find_entrance(const PinnedProcess& process, const char* function, Deadline deadline) {
  for (;;) {
    auto entrance = look_for_entrance(process, function);
    if (!entrance || entrance->agent() == nullptr || entrance->function) return entrance;
    if (Clock::now() > deadline)
      return tl::unexpected(of_process(process,
                                       fmt::format("it does not finish loading {}", entrance->agent()->path),
                                       "try again; was another version of the agent there before?"));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// Whether it is there then, only a look at the process tells.
Result<void> load_library(HeldThread& thread, const Entrance& entrance, const std::string& library,
                          Deadline deadline) {
  std::vector<std::byte> path(library.size() + 1);
  std::memcpy(path.data(), library.c_str(), path.size());
  return thread.call(entrance.sigreturn, entrance.load, path, RTLD_NOW | RTLD_LOCAL, deadline);
}

Result<void> judge(const PinnedProcess& process, const AttachCall& answer) {
  const auto refuse = [&](std::string_view what, std::string remedy) -> Result<void> {
    return tl::unexpected(of_process(process, what, std::move(remedy)));
  };
  switch (answer.status) {
    case AttachStatus::kTracing:
    case AttachStatus::kDetached: return {};
    case AttachStatus::kAlready:
      return refuse(
          "it is traced already",
          fmt::format("asynctrace {} {}", answer.hook_rows[0] != '\0' ? "detach" : "dump", process.pid()));
    case AttachStatus::kNoRuntime:
      return refuse("no async runtime is in it that asynctrace knows",
                    "it needs tokio or async-task with their symbol table, a library with a poll loop "
                    "(libevent, libuv, ..), or the native API");
    case AttachStatus::kOff: return refuse(fmt::format("the agent cannot trace it: {}", answer.reason), "");
    case AttachStatus::kNotTracing: return tl::unexpected(not_traced(process));
    case AttachStatus::kBusy: return refuse("the agent is busy in it", "try again");
    case AttachStatus::kNotRun: break;
  }
  return refuse("the agent gave no answer", "install the agent and asynctrace of one version");
}

Result<AttachCall> call_agent(HeldThread& thread, const Entrance& entrance, uint64_t function,
                              AttachCall call, Deadline deadline) {
  std::vector<std::byte> bytes(sizeof call);
  call.size = sizeof call;
  std::memcpy(bytes.data(), &call, sizeof call);
  constexpr HeldThread::Meeting kMeeting{offsetof(AttachCall, done), offsetof(AttachCall, go)};
  if (auto called = thread.call(entrance.sigreturn, function, bytes, 0, deadline, kMeeting); !called)
    return tl::unexpected(called.error());
  std::memcpy(&call, bytes.data(), sizeof call);
  call.reason[sizeof call.reason - 1] = '\0';
  return call;
}

Result<AttachCall> request(const AttachSettings& settings) {
  AttachCall call{};
  call.max_size = settings.max_size;
  if (settings.directory.size() >= sizeof call.directory || settings.library.size() >= PATH_MAX)
    return fail("the name of the directory is too long", "set ASYNCTRACE_DIR to a shorter one", 2);
  std::memcpy(call.directory, settings.directory.c_str(), settings.directory.size() + 1);
  settings.hook_rows.copy(call.hook_rows, kMaxUserText);
  return call;
}

constexpr const char* kLoaderRemedy =
    "see whether the file and libc are readable and new enough there (LD_DEBUG=all in a new process), "
    "whether its file system is mounted noexec, and whether static TLS is left "
    "(GLIBC_TUNABLES=glibc.rtld.optional_static_tls)";

// The loader's own words for why it refused. To ask for them also takes them from the thread, which would
// else find them at the next failure of its own.
std::string loader_words(const PinnedProcess& process, HeldThread& thread, const Entrance& entrance,
                         Deadline deadline) {
  const Mapping* libc = entrance.files.library("libc.so.6");
  const auto ask = entrance.files.function(*libc, "dlerror");
  const auto words = ask ? thread.value_of_call(entrance.sigreturn, *ask, deadline) : std::nullopt;
  if (!words || *words == 0) return {};
  std::string text;
  for (char c = 0; text.size() < kMaxWords &&
                   read_memory(process.pid(), *words + text.size(), std::as_writable_bytes(std::span(&c, 1)));
       text += c)
    if (c == '\0') return ": " + text;
  return {};
}

// Where the agent's function is, once it is loaded.
std::optional<uint64_t> find_loaded(const PinnedProcess& process) {
  const auto files = LoadedFiles::read(process.pid());
  const Mapping* agent = files ? files->library(segment::kAgentLibrary) : nullptr;
  const bool ready = agent != nullptr && files->number(*agent, kAttachReady).value_or(0) != 0;
  return ready ? files->function(*agent, kAttachFunction) : std::nullopt;
}

// In a thread of the process that was asked for, and of no other: loads the library, where `library` names
// one, and has the agent do as `call` says.
Result<AttachCall> act_in_thread(const PinnedProcess& process, Entrance& entrance, const std::string& library,
                                 const AttachCall& call, Deadline to_begin, Attached& attached) {
  auto thread = hold_fit_thread(process.pid(), entrance.places(), to_begin);
  if (!thread) return tl::unexpected(thread.error());
  if (!process.still_there()) return fail("it has ended");
  attached.tid = thread->tid();
  // However long it took to find one: a call that has begun is waited for.
  const Deadline deadline = Clock::now() + kCallTime;
  if (!entrance.function) {
    if (auto loaded = load_library(*thread, entrance, library, deadline); !loaded)
      return tl::unexpected(loaded.error());
    entrance.function = find_loaded(process);
    if (!entrance.function) {
      const std::string words = loader_words(process, *thread, entrance, deadline);
      return fail(fmt::format("its loader refused {}{}", library, words), kLoaderRemedy);
    }
  }
  auto answer = call_agent(*thread, entrance, *entrance.function, call, deadline);
  attached.held = Clock::now() - thread->since();
  return answer;
}

// Until the agent is not busy.
Result<Attached> act(const PinnedProcess& process, Entrance& entrance, const std::string& library,
                     const AttachCall& call, Deadline deadline) {
  for (Attached attached;;) {
    const auto answer = act_in_thread(process, entrance, library, call, deadline, attached);
    if (!answer) return tl::unexpected(of_process(process, answer.error().message, answer.error().remedy));
    if (answer->status == AttachStatus::kBusy && Clock::now() < deadline) continue;
    attached.hooks.assign(std::begin(answer->hooks), std::end(answer->hooks));
    return judge(process, *answer).map([&] { return attached; });
  }
}

}  // namespace

Result<Attached> attach_process(const PinnedProcess& process, const AttachSettings& settings) {
  const Deadline deadline = Clock::now() + settings.patience;
  if (auto checked = check_process(process, settings.force); !checked) return tl::unexpected(checked.error());
  const auto library = path_in_target(process, settings.library);
  if (!library) return tl::unexpected(library.error());
  const auto call = request(settings);
  if (!call) return tl::unexpected(call.error());
  auto entrance = find_entrance(process, kAttachFunction, deadline);
  if (!entrance) return tl::unexpected(entrance.error());
  return act(process, *entrance, *library, *call, deadline);
}

Result<Attached> detach_process(const PinnedProcess& process, const AttachSettings& settings) {
  const Deadline deadline = Clock::now() + settings.patience;
  if (auto checked = check_process(process, settings.force); !checked) return tl::unexpected(checked.error());
  auto entrance = find_entrance(process, kDetachFunction, deadline);
  if (!entrance) return tl::unexpected(entrance.error());
  if (!entrance->function) return tl::unexpected(not_traced(process));
  return act(process, *entrance, {}, {}, deadline);
}

}  // namespace asynctrace
