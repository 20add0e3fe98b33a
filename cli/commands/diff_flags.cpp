#include "cli/commands/flags.hpp"

namespace asynctrace {

void add_diff(CLI::App& verb, DiffOptions& options) {
  describe(
      verb, "asynctrace diff [OPTIONS] A B",
      "A and B: pids, segment files, or what `asynctrace dump --format json` wrote; FILE#2 is the second of\n"
      "several dumps in one file. Of two dumps of one process, tasks that were not polled in between are\n"
      "marked: they have not moved.\n\n"
      "Examples:\n"
      "  asynctrace dump --format json 4242 > before.json; asynctrace diff before.json 4242\n"
      "  asynctrace diff good.atrace bad.atrace\n");
  verb.add_option("A", options.before, "The earlier one")->required();
  verb.add_option("B", options.after, "The later one")->required();
  add_choice<DumpFormat>(verb, "--format", options.form.format,
                         {{"text", DumpFormat::kText}, {"json", DumpFormat::kJson}},
                         "Form of the difference");
  add_sources(verb, options.form);
  add_symbols(verb, options.form.symbols);
}

}  // namespace asynctrace
