// The verbs. Each does its work and gives the exit code, or an error for main to tell.
#pragma once

#include "cli/commands/options.hpp"
#include "cli/error.hpp"

namespace asynctrace {

Result<int> run_command(const RunOptions& options);
Result<int> dump_command(const DumpOptions& options);
Result<int> export_command(const ExportOptions& options);
Result<int> pack_command(const PackOptions& options);
Result<int> diff_command(const DiffOptions& options);
Result<int> ps_command(const PsOptions& options);
Result<int> env_command(const EnvOptions& options);
Result<int> attach_command(const AttachOptions& options);
Result<int> detach_command(const AttachOptions& options);

}  // namespace asynctrace
