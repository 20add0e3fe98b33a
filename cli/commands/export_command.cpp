#include <unistd.h>

#include "cli/commands/commands.hpp"
#include "cli/commands/dump_output.hpp"
#include "cli/commands/replaced_file.hpp"
#include "cli/commands/targets.hpp"

namespace asynctrace {

Result<int> export_command(const ExportOptions& options) {
  give_way();
  auto target = options.targets.empty() ? only_live_one("export") : find_target(options.targets.front());
  if (!target) return tl::unexpected(target.error());
  const auto write = [&](DumpOutput output) { return output.write(*target, "request"); };
  const auto done = [] { return 0; };
  if (options.output.empty())
    return DumpOutput::to_descriptor(STDOUT_FILENO, "stdout", options.form).and_then(write).map(done);
  auto file = ReplacedFile::open(options.output);
  if (!file) return tl::unexpected(file.error());
  return DumpOutput::to_descriptor(file->descriptor(), options.output, options.form)
      .and_then(write)
      .and_then([&] { return file->commit(); })
      .map(done);
}

}  // namespace asynctrace
