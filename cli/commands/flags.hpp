// What the options of all verbs are made of. The only users of CLI11 are command_line.cpp and *_flags.cpp.
// Every option of run and dump has an environment variable of its name (ASYNCTRACE_...), which its flag wins
// over and which wins over the configuration file.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/commands/options.hpp"
#include "cli/render/duration.hpp"

namespace asynctrace {

// The text of --help: usage line, and what follows the options.
void describe(CLI::App& verb, const std::string& usage, const std::string& footer);

// "dump-after" -> "ASYNCTRACE_DUMP_AFTER"
std::string variable_for(std::string_view flag);
CLI::Option* with_variable(CLI::Option* option);

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

// One value each time that it is given; or several, with commas between.
CLI::Option* add_repeatable(CLI::App& verb, const std::string& flag,
                            const std::function<void(const std::string&)>& add, const std::string& help);

// A number of bytes, with a unit if need be.
template <typename Size>
CLI::Option* add_size(CLI::App& verb, const std::string& flag, Size& value, const std::string& help) {
  return verb.add_option(flag, value, help)->transform(CLI::AsSizeValue(false))->type_name("SIZE");
}

inline const std::map<std::string, bool> kFollow = {{"all", true}, {"none", false}};
inline constexpr const char* kFollowHelp = "Trace child processes as well";
inline constexpr const char* kOutputHelp =
    "Keep the segment file as FILE; %e is the program's name, %p its pid";

CLI::Option* add_hooks(CLI::App& verb, std::string& file);

// What is shown of a trace, and where its sources are.
void add_sources(CLI::App& verb, DumpForm& form);
void add_causes(CLI::App& verb, DumpForm& form);
void add_frames(CLI::App& verb, DumpForm& form);
void add_form(CLI::App& verb, DumpForm& form);
void add_symbols(CLI::App& verb, SymbolOptions& options);

// One for each verb: its help, and its options into the structure.
void add_run(CLI::App& verb, RunOptions& options);
void add_dump(CLI::App& verb, DumpOptions& options);
void add_export(CLI::App& verb, ExportOptions& options);
void add_pack(CLI::App& verb, PackOptions& options);
void add_diff(CLI::App& verb, DiffOptions& options);
void add_ps(CLI::App& verb, PsOptions& options);
void add_env(CLI::App& verb, EnvOptions& options);
void add_attach(CLI::App& verb, AttachOptions& options);
void add_detach(CLI::App& verb, AttachOptions& options);

}  // namespace asynctrace
