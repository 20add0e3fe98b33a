#include "cli/commands/flags.hpp"

namespace asynctrace {

void add_ps(CLI::App& verb, PsOptions& options) {
  describe(
      verb, "asynctrace ps [--prune [--keep N]]",
      "STATE: running; exec'ed, the process runs another program now; exited; ended, without its exit "
      "handlers\n"
      "(killed, crashed or by _exit).\n\n"
      "Example:\n"
      "  asynctrace ps --prune --keep 5                    remove all files of dead processes but the newest "
      "5\n");
  CLI::Option* prune = verb.add_flag("--prune", options.prune, "Remove the files of processes that are gone");
  verb.add_option("--keep", options.keep, "With --prune: leave the newest N")->needs(prune)->type_name("N");
}

void add_env(CLI::App& verb, EnvOptions& options) {
  describe(verb, "asynctrace env [OPTIONS]",
           "Examples:\n"
           "  eval \"$(asynctrace env)\"; ./server &\n"
           "  asynctrace env --format=systemd > /etc/systemd/system/shop.service.d/asynctrace.conf\n");
  add_choice<EnvFormat>(verb, "--format", options.format,
                        {{"shell", EnvFormat::kShell},
                         {"systemd", EnvFormat::kSystemd},
                         {"docker", EnvFormat::kDocker},
                         {"kubernetes", EnvFormat::kKubernetes}},
                        "For whom (default shell)");
  verb.add_option("-o,--output", options.output, kOutputHelp)->type_name("FILE");
  add_size(verb, "--max-size", options.max_size, "Limit of one segment file");
  add_hooks(verb, options.hooks);
  add_choice(verb, "--follow", options.follow, kFollow, kFollowHelp);
}

}  // namespace asynctrace
