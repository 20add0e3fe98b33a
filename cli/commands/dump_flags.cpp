#include "cli/commands/flags.hpp"

namespace asynctrace {

void add_dump(CLI::App& verb, DumpOptions& options) {
  describe(verb, "asynctrace dump [OPTIONS] [PID | FILE | CORE]...",
           "Without an argument: the only traced process that is running. Reading changes nothing in the "
           "process.\n"
           "A process that is not traced, or a core file, gets a census: the tasks that its memory shows.\n\n"
           "Examples:\n"
           "  asynctrace dump 4242\n"
           "  asynctrace dump --format json 4242 | jq '.groups[0]'\n"
           "  asynctrace dump app.atrace                        after the process is dead\n"
           "  asynctrace dump core.4242 --exe ./app             the tasks of a core file\n");
  verb.add_option("-p,--pid", options.targets, "The same as PID")->type_name("PID");
  verb.allow_extras();
  add_form(verb, options.form);
  with_variable(
      verb.add_flag("--repoll", options.form.repoll,
                    "Have the runtime poll each task, and show what these polls meet: only of "
                    "runtimes in C and C++ that offer it, and this does change what the process does"));
  verb.add_option("--exe", options.form.executable, "The program that left a core file, where it has moved")
      ->check(CLI::ExistingFile)
      ->type_name("FILE");
}

void add_export(CLI::App& verb, ExportOptions& options) {
  describe(verb, "asynctrace export [OPTIONS] [PID | FILE]",
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
  add_causes(verb, options.form);
  add_frames(verb, options.form);
  add_symbols(verb, options.form.symbols);
  verb.add_option("-o,--output", options.output, "Write to FILE, which is replaced once all is written")
      ->type_name("FILE");
}

void add_pack(CLI::App& verb, PackOptions& options) {
  describe(
      verb, "asynctrace pack [OPTIONS] FILE -o PACKED",
      "The packed file has the records and all their symbols: dump, export and ps read it like FILE, on\n"
      "any machine, without the program.\n\n"
      "Examples:\n"
      "  asynctrace pack app.atrace -o job.atrace\n"
      "  asynctrace run --pack -o job.atrace -- ./app      the same at the end of a run\n");
  verb.allow_extras();
  verb.add_option("-o,--output", options.output, "Write to PACKED, which is replaced once all is written")
      ->required()
      ->type_name("PACKED");
  add_symbols(verb, options.symbols);
}

}  // namespace asynctrace
