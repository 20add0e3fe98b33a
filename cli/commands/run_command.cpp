#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "cli/commands/commands.hpp"
#include "cli/commands/run.hpp"
#include "cli/hooks/hooks_file.hpp"
#include "cli/process/agent_environment.hpp"
#include "cli/process/agent_library.hpp"
#include "cli/process/segment_directory.hpp"
#include "cli/process/target_check.hpp"

namespace asynctrace {
namespace {

std::vector<std::string> current_environment() {
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; entry++) variables.emplace_back(*entry);
  return variables;
}

}  // namespace

Result<int> run_command(const RunOptions& options) {
  auto path = find_command(options.command.at(0));
  if (!path) return tl::unexpected(path.error());
  if (auto enterable = check_target(*path); !enterable) return tl::unexpected(enterable.error());
  auto library = find_agent_library();
  if (!library) return tl::unexpected(library.error());
  auto directory = choose_segment_directory();
  if (!directory) return tl::unexpected(directory.error());

  std::string run_id = make_run_id();
  std::string output =
      options.output.empty() ? "" : std::filesystem::absolute(options.output).lexically_normal().string();
  auto segments = RunSegments::prepare(*directory, run_id, output);
  if (!segments) return tl::unexpected(segments.error());
  auto report_in = ReportIn::create(*directory, run_id);
  if (!report_in) return tl::unexpected(report_in.error());
  auto dumps = options.dump_file.empty() ? DumpOutput::to_descriptor(STDERR_FILENO, "stderr", options.form)
                                         : DumpOutput::to_file(options.dump_file, options.form);
  if (!dumps) return tl::unexpected(dumps.error());
  auto reports = ReportOutput::open(options);
  if (!reports) return tl::unexpected(reports.error());

  auto hook_rows = read_hooks(options.hooks);
  if (!hook_rows) {
    hook_rows.error().exit_code = 125;
    return tl::unexpected(hook_rows.error());
  }

  AgentSettings settings{*library, *directory, output, options.max_size, options.follow, *hook_rows};
  const char* preload = std::getenv("LD_PRELOAD");
  Launch launch{*path,         options.command, current_environment(), options.quit_key, options.crash_stack,
                options.follow};
  launch.environment = with_variables(std::move(launch.environment),
                                      agent_variables(settings, preload == nullptr ? "" : preload));
  launch.environment =
      with_variables(std::move(launch.environment), run_variables(run_id, report_in->path()));
  Run run(options, std::move(*segments), std::move(*report_in), std::move(*dumps), std::move(*reports));
  return run.execute(launch);
}

}  // namespace asynctrace
