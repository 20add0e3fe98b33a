#include "cli/commands/command_line.hpp"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/commands/commands.hpp"
#include "cli/commands/messages.hpp"
#include "cli/commands/version.hpp"
#include "cli/render/duration.hpp"

namespace asynctrace {
namespace {

constexpr int kUsage = 2;
constexpr int kOwnFailure = 125;

std::string variable_for(std::string_view flag) {
  std::string name = "ASYNCTRACE_";
  for (char c : flag) name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

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

// CLI11 knows nothing of run's command and of dump's free arguments, and shows more of an option than helps.
class VerbHelp : public CLI::Formatter {
 public:
  explicit VerbHelp(std::string usage) : usage_(std::move(usage)) {}
  std::string make_usage(const CLI::App*, std::string) const override { return "Usage: " + usage_ + "\n"; }
  std::string make_option_opts(const CLI::Option* option) const override {
    std::string type = option->get_type_name();
    return type.empty() ? "" : " " + type.substr(0, type.find(':'));
  }

 private:
  std::string usage_;
};

CLI::Option* with_variable(CLI::Option* option) {
  return option->envname(variable_for(option->get_lnames().at(0)));
}

template <typename Duration>
void add_duration(CLI::App& verb, const std::string& flag, Duration& value, const std::string& help) {
  auto parse = [&value, flag](const std::string& text) {
    auto parsed = parse_duration(text);
    if (!parsed) throw CLI::ValidationError(flag, parsed.error().message);
    if (parsed->count() <= 0 && flag != "--kill-after") throw CLI::ValidationError(flag, "must be above 0");
    value = *parsed;
  };
  with_variable(verb.add_option_function<std::string>(flag, parse, help)->type_name("TIME"));
}

template <typename Enum>
CLI::Option* add_choice(CLI::App& app, const std::string& flag, Enum& value,
                        const std::map<std::string, Enum>& names, const std::string& help) {
  std::string type;
  for (const auto& [name, choice] : names) type += (type.empty() ? "" : "|") + name;
  auto parse = [&value, names, flag, type](const std::string& text) {
    auto found = names.find(text);
    if (found == names.end()) throw CLI::ValidationError(flag, fmt::format("{}: not one of {}", text, type));
    value = found->second;
  };
  return app.add_option_function<std::string>(flag, parse, help)->type_name(type);
}

const std::map<std::string, bool> kFollow = {{"all", true}, {"none", false}};
constexpr const char* kFollowHelp = "Trace child processes as well";
constexpr const char* kOutputHelp = "Keep the segment file as FILE; %e is the program's name, %p its pid";

void add_frames(CLI::App& verb, DumpForm& form) {
  with_variable(add_choice<FrameView>(verb, "--frames", form.frames,
                                      {{"user", FrameView::kUser}, {"all", FrameView::kAll}},
                                      "Show the program's own frames, or every frame"));
}

void add_form(CLI::App& verb, DumpForm& form) {
  with_variable(add_choice<DumpFormat>(
      verb, "--format", form.format,
      {{"text", DumpFormat::kText}, {"json", DumpFormat::kJson}, {"jsonl", DumpFormat::kJsonl}},
      "Form of a dump"));
  add_frames(verb, form);
  with_variable(verb.add_flag("--all", form.all, "Show every trace and every task id, also on a terminal"));
  with_variable(add_choice<ColourMode>(
      verb, "--color", form.colour,
      {{"auto", ColourMode::kAuto}, {"always", ColourMode::kAlways}, {"never", ColourMode::kNever}},
      "Colour the text"));
}

void add_run(CLI::App& verb, RunOptions& options) {
  verb.formatter(std::make_shared<VerbHelp>("asynctrace run [OPTIONS] [--] COMMAND [ARGUMENTS...]"));
  verb.footer(
      "Exit code: the command's own; 128+N if signal N killed it; 124 after --timeout; 125 if asynctrace\n"
      "failed; 126, 127 if the command cannot be executed or found.\n\n"
      "Examples:\n"
      "  asynctrace run ./server --port 80                 Ctrl-\\ shows what its tasks wait for\n"
      "  asynctrace run --dump-after 10s ./server          one dump, 10 s after the start\n"
      "  asynctrace run --timeout 5m -- cargo test         a hung test prints its tasks and ends\n"
      "  asynctrace run -o app.atrace ./app                keep the record for `asynctrace dump`\n");
  add_form(verb, options.form);
  with_variable(
      verb.add_flag("-q,--quiet", options.quiet, "Do not print the line with the pid at the start"));
  with_variable(verb.add_option("-o,--output", options.output, kOutputHelp)->type_name("FILE"));
  with_variable(verb.add_option("--dump-file", options.dump_file, "Write dumps to FILE, not to stderr")
                    ->type_name("FILE"));
  add_duration(verb, "--dump-after", options.dump_after, "Dump once, so long after the start");
  add_duration(verb, "--dump-every", options.dump_every, "Dump again and again");
  add_duration(verb, "--timeout", options.timeout, "Dump, then end the command and all its children");
  add_duration(verb, "--kill-after", options.kill_after,
               "From --timeout's SIGTERM to its SIGKILL (default 10s)");
  with_variable(verb.add_option("--max-size", options.max_size,
                                "Limit of one segment file, which is sparse (default 512M)")
                    ->transform(CLI::AsSizeValue(false))
                    ->type_name("SIZE"));
  with_variable(add_choice(verb, "--follow", options.follow, kFollow, kFollowHelp));
  with_variable(add_choice<bool>(verb, "--quit-key", options.quit_key, {{"on", true}, {"off", false}},
                                 "Ctrl-\\ dumps; off: it reaches the command untouched"));
}

void add_dump(CLI::App& verb, DumpOptions& options) {
  verb.formatter(std::make_shared<VerbHelp>("asynctrace dump [OPTIONS] [PID | FILE]..."));
  verb.footer(
      "Without an argument: the only traced process that is running. Reading changes nothing in the "
      "process.\n\n"
      "Examples:\n"
      "  asynctrace dump 4242\n"
      "  asynctrace dump --format json 4242 | jq '.groups[0]'\n"
      "  asynctrace dump app.atrace                        after the process is dead\n");
  verb.add_option("-p,--pid", options.targets, "The same as PID")->type_name("PID");
  verb.allow_extras();
  add_form(verb, options.form);
}

void add_export(CLI::App& verb, ExportOptions& options) {
  verb.formatter(std::make_shared<VerbHelp>("asynctrace export [OPTIONS] [PID | FILE]"));
  verb.footer(
      "Without an argument: the only traced process that is running.\n\n"
      "Examples:\n"
      "  asynctrace export 4242 | flamegraph.pl --countname tasks > waiting.svg\n"
      "  asynctrace export --format json -o app.json app.atrace\n");
  verb.allow_extras();
  // Not of the environment, where the same names are about dumps and segments.
  add_choice<DumpFormat>(verb, "--format", options.form.format,
                         {{"folded", DumpFormat::kFolded}, {"json", DumpFormat::kJson}},
                         "Collapsed stacks with the number of tasks that wait there, or the JSON of a dump "
                         "(default folded)");
  add_frames(verb, options.form);
  verb.add_option("-o,--output", options.output, "Write to FILE, which is replaced once all is written")
      ->type_name("FILE");
}

void add_ps(CLI::App& verb, PsOptions& options) {
  verb.formatter(std::make_shared<VerbHelp>("asynctrace ps [--prune [--keep N]]"));
  verb.footer(
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
  verb.formatter(std::make_shared<VerbHelp>("asynctrace env [OPTIONS]"));
  verb.footer(
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
  verb.add_option("--max-size", options.max_size, "Limit of one segment file")
      ->transform(CLI::AsSizeValue(false))
      ->type_name("SIZE");
  add_choice(verb, "--follow", options.follow, kFollow, kFollowHelp);
}

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
  PsOptions ps_options;
  EnvOptions env_options;
  CLI::App& run = *app.add_subcommand("run", "Run a program with the agent");
  CLI::App& dump = *app.add_subcommand("dump", "Print what the tasks of a traced process wait for");
  CLI::App& exported = *app.add_subcommand("export", "Write what tasks wait for in a form for other tools");
  CLI::App& ps = *app.add_subcommand("ps", "List the traced processes of this user, alive and dead");
  CLI::App& env = *app.add_subcommand("env", "Print the environment that loads the agent without `run`");
  add_run(run, run_options);
  add_dump(dump, dump_options);
  add_export(exported, export_options);
  add_ps(ps, ps_options);
  add_env(env, env_options);

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
       {std::pair(&dump, &dump_options.targets), std::pair(&exported, &export_options.targets)}) {
    for (const std::string& target : verb->remaining()) {
      if (target.starts_with('-') && target != "--")
        return usage_error(target + ": no such option", app, run);
      if (target != "--") targets->push_back(target);
    }
  }
  if (export_options.targets.size() > 1)
    return usage_error("export: more than one target is given", app, run);

  Result<int> result = app.got_subcommand(&run)        ? run_command(run_options)
                       : app.got_subcommand(&dump)     ? dump_command(dump_options)
                       : app.got_subcommand(&exported) ? export_command(export_options)
                       : app.got_subcommand(&ps)       ? ps_command(ps_options)
                                                       : env_command(env_options);
  if (result) return *result;
  print_error(result.error());
  return result.error().exit_code;
}

}  // namespace asynctrace
