#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>

#include "cli/attach/attach.hpp"
#include "cli/commands/commands.hpp"
#include "cli/commands/messages.hpp"
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

}  // namespace

Result<int> attach_command(const AttachOptions& options) {
  auto library = find_agent_library();
  if (!library) return tl::unexpected(library.error());
  const char* named = std::getenv("ASYNCTRACE_DIR");
  AttachSettings settings{
      .library = std::move(*library), .max_size = options.max_size, .force = options.force};
  if (named != nullptr && *named != '\0') settings.directory = std::filesystem::absolute(named).string();
  return PinnedProcess::pin(options.pid).and_then([&](const PinnedProcess& process) {
    return attach_process(process, settings).map([&](const Attached& done) {
      tell(options, "tracing", process, done, fmt::format(" Next: asynctrace dump {}", process.pid()));
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
