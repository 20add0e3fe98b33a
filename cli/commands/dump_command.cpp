#include <unistd.h>
#include <algorithm>

#include "cli/commands/commands.hpp"
#include "cli/commands/dump_output.hpp"
#include "cli/commands/messages.hpp"
#include "cli/commands/targets.hpp"

namespace asynctrace {

Result<int> dump_command(const DumpOptions& options) {
  give_way();
  auto output = DumpOutput::to_descriptor(STDOUT_FILENO, "stdout", options.form);
  if (!output) return tl::unexpected(output.error());
  if (options.targets.empty()) {
    auto written = only_live_one("dump").and_then(
        [&](const TracedProcess& only) { return output->write(only, "request"); });
    return written.map([] { return 0; });
  }
  int exit_code = 0;
  for (const std::string& target : options.targets) {
    auto written = find_target(target).and_then(
        [&](const TracedProcess& found) { return output->write(found, "request"); });
    if (written) continue;
    print_error(written.error());
    exit_code = std::max(exit_code, written.error().exit_code);
  }
  return exit_code;
}

}  // namespace asynctrace
