#include "cli/commands/commands.hpp"
#include "cli/commands/pack_process.hpp"
#include "cli/commands/targets.hpp"

namespace asynctrace {

Result<int> pack_command(const PackOptions& options) {
  give_way();
  return find_target(options.targets.front())
      .and_then(
          [&](const TracedProcess& found) { return pack_process(found, options.output, options.symbols); })
      .map([] { return 0; });
}

}  // namespace asynctrace
