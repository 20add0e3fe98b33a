#include "cli/commands/flags.hpp"

namespace asynctrace {
namespace {

const std::map<std::string, ReportForm> kReports = {{"text", ReportForm::kText},
                                                    {"json", ReportForm::kJson},
                                                    {"markdown", ReportForm::kMarkdown},
                                                    {"junit", ReportForm::kJunit},
                                                    {"github", ReportForm::kGithub}};

void add_report(RunOptions& options, const std::string& text) {
  const size_t at = text.find('=');
  const auto form = kReports.find(text.substr(0, at));
  if (form == kReports.end())
    throw CLI::ValidationError("--report", text + ": not one of text, json, markdown, junit, github");
  const std::string path = at == std::string::npos ? "" : text.substr(at + 1);
  if (path.empty() && (at != std::string::npos || form->second == ReportForm::kJunit))
    throw CLI::ValidationError("--report", text + ": needs a file: " + form->first + "=FILE");
  options.reports.push_back({form->second, path});
}

}  // namespace

void add_run(CLI::App& verb, RunOptions& options) {
  describe(
      verb, "asynctrace run [OPTIONS] [--] COMMAND [ARGUMENTS...]",
      "Exit code: the command's own; 128+N if signal N killed it; 124 after --timeout or a kill on\n"
      "hang; 125 if asynctrace failed; 126, 127 if the command cannot be executed or found.\n\n"
      "Reports are written once, when a run ran into its time-out, was stopped by a signal, or failed while "
      "tasks\n"
      "waited. A run that ended well removes them, but for junit, which then holds a test case that passed. "
      "github\n"
      "prints annotations to the job's log (stderr) and appends a page to $GITHUB_STEP_SUMMARY.\n\n"
      "Examples:\n"
      "  asynctrace run ./server --port 80                 Ctrl-\\ shows what its tasks wait for\n"
      "  asynctrace run --dump-after 10s ./server          one dump, 10 s after the start\n"
      "  asynctrace run --timeout 5m -- cargo test         a hung test prints its tasks and ends\n"
      "  asynctrace run --timeout 5m --report junit=hung.xml -- cargo test\n"
      "  asynctrace run -o app.atrace ./app                keep the record for `asynctrace dump`\n");
  add_form(verb, options.form);
  with_variable(
      verb.add_flag("-q,--quiet", options.quiet, "Do not print the line with the pid at the start"));
  with_variable(verb.add_option("-o,--output", options.output, kOutputHelp)->type_name("FILE"));
  with_variable(verb.add_flag("--pack", options.pack,
                              "Pack the files that stay, so that they can be read without the program"));
  with_variable(verb.add_option("--dump-file", options.dump_file, "Write dumps to FILE, not to stderr")
                    ->type_name("FILE"));
  add_duration(verb, "--dump-after", options.dump_after, "Dump once, so long after the start");
  add_duration(verb, "--dump-every", options.dump_every, "Dump again and again");
  add_duration(verb, "--timeout", options.timeout, "Dump, then end the command and all its children");
  add_duration(verb, "--hang", options.hang,
               "Dump once a task inside the program was neither polled nor woken for so long");
  with_variable(add_choice<bool>(verb, "--on-hang", options.kill_on_hang, {{"report", false}, {"kill", true}},
                                 "After --hang go on (default), or end all as --timeout does"));
  add_duration(verb, "--kill-after", options.kill_after,
               "From the SIGTERM of --timeout or --on-hang=kill to SIGKILL (default 10s)");
  add_repeatable(
      verb, "--report", [&options](const std::string& text) { add_report(options, text); },
      "What a run that hung, crashed or was stopped waited for: text, json, markdown, junit or github, "
      "to FILE or stderr; junit needs a FILE. May be given several times. Default in GitHub Actions: "
      "github")
      ->type_name("FORM[=FILE]");
  with_variable(add_hooks(verb, options.hooks));
  with_variable(add_size(verb, "--max-size", options.max_size,
                         "Limit of one segment file, which is sparse (default 512M)"));
  with_variable(verb.add_flag("--crash-stack", options.crash_stack,
                              "Trace the command for the native stack of a crash: costs a stop for each\n"
                              "signal and new thread; no debugger, strace or setuid program inside"));
  with_variable(add_choice(verb, "--follow", options.follow, kFollow, kFollowHelp));
  with_variable(add_choice<bool>(verb, "--quit-key", options.quit_key, {{"on", true}, {"off", false}},
                                 "Ctrl-\\ dumps; off: it reaches the command untouched"));
}

}  // namespace asynctrace
