#include <cstdlib>
#include <filesystem>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/attach/attach.hpp"
#include "cli/commands/commands.hpp"
#include "cli/commands/messages.hpp"
#include "cli/hooks/hooks_file.hpp"
#include "cli/process/agent_library.hpp"
#include "cli/render/escape.hpp"

namespace asynctrace {
namespace {

void tell(const AttachOptions& options, std::string_view what, const PinnedProcess& process,
          const Attached& done, std::string_view next) {
  if (options.quiet) return;
  print_message(fmt::format("{} process {} ({}), whose thread {} was held for {:.1f} ms.{}", what,
                            process.pid(), escape(process.name()), done.tid,
                            std::chrono::duration<double, std::milli>(done.held).count(), next));
}

// Which of the user's functions are stood before, and why others are not.
void tell_of_hooks(std::string_view rows, const std::vector<HookState>& states) {
  std::map<HookState, std::vector<std::string>> functions;
  UserHook hook;
  for (const HookState state : states)
    if (decode(rows, hook)) functions[state].push_back(escape(hook.texts[UserHook::kFunction]));
  const auto say = [&](HookState state, std::string_view what) {
    if (const auto found = functions.find(state); found != functions.end())
      print_message(fmt::format("hooks: {}: {}", fmt::join(found->second, ", "), what));
  };
  say(HookState::kTaken,
      "seen from now on; callbacks that were set, and what was armed, before are not known");
  say(HookState::kKept, "known before; what was said of it then counts");
  say(HookState::kNotCalled, "no call of it goes through the dynamic linker, so none is seen");
  say(HookState::kNotThere, "not in the process; seen once its library is loaded");
}

}  // namespace

Result<int> attach_command(const AttachOptions& options) {
  auto library = find_agent_library();
  if (!library) return tl::unexpected(library.error());
  auto hook_rows = read_hooks(options.hooks);
  if (!hook_rows) return tl::unexpected(hook_rows.error());
  const char* named = std::getenv("ASYNCTRACE_DIR");
  AttachSettings settings{.library = std::move(*library),
                          .max_size = options.max_size,
                          .force = options.force,
                          .hook_rows = std::move(*hook_rows)};
  if (named != nullptr && *named != '\0') settings.directory = std::filesystem::absolute(named).string();
  return PinnedProcess::pin(options.pid).and_then([&](const PinnedProcess& process) {
    return attach_process(process, settings).map([&](const Attached& done) {
      tell(options, "tracing", process, done, fmt::format(" Next: asynctrace dump {}", process.pid()));
      if (!options.quiet && !settings.hook_rows.empty()) tell_of_hooks(settings.hook_rows, done.hooks);
      return 0;
    });
  });
}

Result<int> detach_command(const AttachOptions& options) {
  return PinnedProcess::pin(options.pid).and_then([&](const PinnedProcess& process) {
    return detach_process(process, {.force = options.force}).map([&](const Attached& done) {
      tell(options, "no longer tracing", process, done, "");
      return 0;
    });
  });
}

}  // namespace asynctrace
