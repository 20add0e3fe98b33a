#include "cli/commands/command_line.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/commands/commands.hpp"
#include "cli/commands/flags.hpp"
#include "cli/commands/messages.hpp"
#include "cli/commands/version.hpp"

namespace asynctrace {
namespace {

constexpr int kUsage = 2;
constexpr int kOwnFailure = 125;

// CLI11 lets the file win over the environment; we promise the reverse.
class EnvironmentFirst : public CLI::ConfigTOML {
 public:
  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override {
    auto items = CLI::ConfigTOML::from_config(input);
    std::erase_if(items, [](const CLI::ConfigItem& item) {
      const char* value = std::getenv(variable_for(item.name).c_str());
      return item.name != "++" && item.name != "--" && value != nullptr && *value != '\0';
    });
    return items;
  }
};

// CLI11 would look for options in the command's own arguments and split words in brackets, so they never get
// there: everything from the first word of run's that is no option on is cut off `arguments`.
std::vector<std::string> cut_command(CLI::App& app, CLI::App& run, std::vector<std::string>& arguments) {
  CLI::App* verb = &app;
  for (size_t i = 0; i < arguments.size(); i++) {
    const std::string& word = arguments[i];
    bool separator = word == "--";
    if (!separator && word.size() > 1 && word[0] == '-') {
      std::string flag = word.starts_with("--") || word.size() == 2 ? word : "";
      const CLI::Option* option = flag.empty() ? nullptr : verb->get_option_no_throw(flag);
      if (option != nullptr && option->get_expected_min() > 0) i++;
      continue;
    }
    if (verb == &app && word == run.get_name()) {
      verb = &run;
      continue;
    }
    if (verb == &app) return {};
    std::vector<std::string> command(arguments.begin() + static_cast<ptrdiff_t>(i + (separator ? 1 : 0)),
                                     arguments.end());
    arguments.resize(i);
    return command;
  }
  return {};
}

int usage_error(const std::string& message, const CLI::App& app, const CLI::App& run) {
  bool in_run = app.got_subcommand(&run);
  std::string verb;
  for (const CLI::App* parsed : app.get_subcommands()) verb = " " + parsed->get_name();
  print_error({message, fmt::format("see `asynctrace{} --help`", verb), kUsage});
  return in_run ? kOwnFailure : kUsage;
}

void read_configuration(CLI::App& app) {
  app.config_formatter(std::make_shared<EnvironmentFirst>());
  app.allow_config_extras(CLI::config_extras_mode::error);
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home == '/')
    app.set_config("--config", std::string(home) + "/.config/asynctrace.toml")->group("");
}

}  // namespace

int run_command_line(int argc, char** argv) {
  CLI::App app("asynctrace tells what every async task of a program waits for, and where.", "asynctrace");
  app.set_version_flag("--version", fmt::format("asynctrace {}", kToolVersion));
  app.require_subcommand(1);
  app.footer(
      "Every option of run and dump can also be set as ASYNCTRACE_<NAME> in the environment, or in\n"
      "~/.config/asynctrace.toml under [run], [dump].\n\n"
      "Examples:\n"
      "  asynctrace run ./server        run it; Ctrl-\\ shows what its tasks wait for\n"
      "  asynctrace dump 4242           what the tasks of a traced process wait for\n"
      "  asynctrace ps                  traced processes, alive and dead\n");
  read_configuration(app);

  RunOptions run_options;
  DumpOptions dump_options;
  ExportOptions export_options;
  PackOptions pack_options;
  DiffOptions diff_options;
  PsOptions ps_options;
  EnvOptions env_options;
  AttachOptions attach_options, detach_options;
  CLI::App& run = *app.add_subcommand("run", "Run a program with the agent");
  CLI::App& dump = *app.add_subcommand("dump", "Print what the tasks of a traced process wait for");
  CLI::App& exported = *app.add_subcommand("export", "Write what tasks wait for in a form for other tools");
  CLI::App& pack = *app.add_subcommand("pack", "Make a file that can be read anywhere, without the program");
  CLI::App& diff = *app.add_subcommand("diff", "Compare what tasks wait for in two dumps");
  CLI::App& ps = *app.add_subcommand("ps", "List the traced processes of this user, alive and dead");
  CLI::App& attach = *app.add_subcommand("attach", "Begin to trace a process that runs");
  CLI::App& detach = *app.add_subcommand("detach", "End to trace it");
  CLI::App& env = *app.add_subcommand("env", "Print the environment that loads the agent without `run`");
  add_run(run, run_options);
  add_dump(dump, dump_options);
  add_export(exported, export_options);
  add_pack(pack, pack_options);
  add_diff(diff, diff_options);
  add_ps(ps, ps_options);
  add_env(env, env_options);
  add_attach(attach, attach_options);
  add_detach(detach, detach_options);

  std::vector<std::string> arguments(argv + 1, argv + argc);
  run_options.command = cut_command(app, run, arguments);
  std::reverse(arguments.begin(), arguments.end());  // as App::parse wants them
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::Success& help_or_version) {
    return app.exit(help_or_version);
  } catch (const CLI::ParseError& error) {
    return usage_error(error.what(), app, run);
  }
  if (app.got_subcommand(&run) && run_options.command.empty())
    return usage_error("run: no command is given", app, run);
  for (const auto& [verb, targets] :
       {std::pair(&dump, &dump_options.targets), std::pair(&exported, &export_options.targets),
        std::pair(&pack, &pack_options.targets)}) {
    for (const std::string& target : verb->remaining()) {
      if (target.starts_with('-') && target != "--")
        return usage_error(target + ": no such option", app, run);
      if (target != "--") targets->push_back(target);
    }
  }
  if (export_options.targets.size() > 1)
    return usage_error("export: more than one target is given", app, run);
  if (app.got_subcommand(&pack) && pack_options.targets.size() != 1)
    return usage_error("pack: one segment file is to be given", app, run);

  Result<int> result = app.got_subcommand(&run)        ? run_command(run_options)
                       : app.got_subcommand(&dump)     ? dump_command(dump_options)
                       : app.got_subcommand(&exported) ? export_command(export_options)
                       : app.got_subcommand(&pack)     ? pack_command(pack_options)
                       : app.got_subcommand(&diff)     ? diff_command(diff_options)
                       : app.got_subcommand(&ps)       ? ps_command(ps_options)
                       : app.got_subcommand(&attach)   ? attach_command(attach_options)
                       : app.got_subcommand(&detach)   ? detach_command(detach_options)
                                                       : env_command(env_options);
  if (result) return *result;
  print_error(result.error());
  return result.error().exit_code;
}

}  // namespace asynctrace
