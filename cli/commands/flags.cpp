#include "cli/commands/flags.hpp"

#include <cctype>
#include <memory>

#include "cli/commands/version.hpp"
#include "cli/symbols/symbol_cache.hpp"

namespace asynctrace {
namespace {

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

}  // namespace

std::string variable_for(std::string_view flag) {
  std::string name = "ASYNCTRACE_";
  for (char c : flag) name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

CLI::Option* with_variable(CLI::Option* option) {
  return option->envname(variable_for(option->get_lnames().at(0)));
}

void describe(CLI::App& verb, const std::string& usage, const std::string& footer) {
  verb.formatter(std::make_shared<VerbHelp>(usage));
  verb.footer(footer);
}

CLI::Option* add_repeatable(CLI::App& verb, const std::string& flag,
                            const std::function<void(const std::string&)>& add, const std::string& help) {
  auto add_all = [add](const std::vector<std::string>& values) {
    for (const std::string& value : values) add(value);
  };
  return with_variable(verb.add_option_function<std::vector<std::string>>(flag, add_all, help)
                           ->delimiter(',')
                           ->allow_extra_args(false));
}

CLI::Option* add_hooks(CLI::App& verb, std::string& file) {
  return verb
      .add_option("--hooks", file,
                  "Functions of poll loops that the agent does not know by itself (TOML, see README)")
      ->type_name("FILE");
}

void add_sources(CLI::App& verb, DumpForm& form) {
  auto add_prefix = [&form](const std::string& text) {
    const size_t at = text.find('=');
    if (at == 0 || at == std::string::npos)
      throw CLI::ValidationError("--source-prefix", text + ": is not OLD=NEW");
    form.source_prefixes.push_back({text.substr(0, at), text.substr(at + 1)});
  };
  add_repeatable(verb, "--source-prefix", add_prefix,
                 "Sources that were built below OLD are below NEW; may be given several times")
      ->type_name("OLD=NEW");
}

void add_frames(CLI::App& verb, DumpForm& form) {
  with_variable(add_choice<FrameView>(verb, "--frames", form.frames,
                                      {{"user", FrameView::kUser}, {"all", FrameView::kAll}},
                                      "Show the program's own frames, or every frame"));
  add_sources(verb, form);
}

void add_symbols(CLI::App& verb, SymbolOptions& options) {
  options.cache_directory = default_cache_directory();
  options.cache_stamp = kToolVersion;
  const CLI::Validator is_directory = CLI::ExistingDirectory;
  auto add_directory = [&options, is_directory](const std::string& path) {
    if (std::string wrong = is_directory(path); !wrong.empty())
      throw CLI::ValidationError("--debug-dir", wrong);
    options.debug_dirs.push_back(path);
  };
  add_repeatable(verb, "--debug-dir", add_directory,
                 "Look for programs and debug files in DIR, by build-id; may be given several times")
      ->type_name("DIR");
  with_variable(verb.add_option("--sysroot", options.sysroot, "The paths of the process are below DIR")
                    ->check(is_directory)
                    ->type_name("DIR"));
  with_variable(
      verb.add_flag("--debuginfod", options.debuginfod,
                    "Ask the servers of $DEBUGINFOD_URLS for what is not found: two minutes at most, "
                    "and Ctrl-C goes on without"));
  with_variable(verb.add_flag_callback(
      "--no-cache", [&options] { options.cache_directory.clear(); },
      "Neither use nor keep symbols in ~/.cache/asynctrace"));
}

void add_causes(CLI::App& verb, DumpForm& form) {
  with_variable(verb.add_flag("--causes", form.causes,
                              "Show whose callback armed what a poll loop waits for, and what armed that: up "
                              "to 8 steps; and where tasks of the native API were spawned"));
}

void add_form(CLI::App& verb, DumpForm& form) {
  with_variable(add_choice<DumpFormat>(
      verb, "--format", form.format,
      {{"text", DumpFormat::kText}, {"json", DumpFormat::kJson}, {"jsonl", DumpFormat::kJsonl}},
      "Form of a dump"));
  add_frames(verb, form);
  add_causes(verb, form);
  with_variable(verb.add_flag("--all", form.all, "Show every trace and every task id, also on a terminal"));
  with_variable(add_choice<ColourMode>(
      verb, "--color", form.colour,
      {{"auto", ColourMode::kAuto}, {"always", ColourMode::kAlways}, {"never", ColourMode::kNever}},
      "Colour the text"));
  add_symbols(verb, form.symbols);
  add_duration(verb, "--blocked", form.blocked,
               "A poll of this length is a suspect, with the native stack of its thread (default 1s)");
  auto leave_alone = [&form](int64_t) { form.may_stop = false; };
  with_variable(verb.add_flag_function(
      "--no-stop", leave_alone, "Do not stop a thread to read its stack: only those that sleep are read"));
}

}  // namespace asynctrace
