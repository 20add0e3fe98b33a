#include "cli/commands/flags.hpp"

namespace asynctrace {
namespace {

void add_common(CLI::App& verb, AttachOptions& options) {
  verb.add_option("PID", options.pid, "The process")->required()->check(CLI::PositiveNumber);
  verb.add_flag("--force", options.force,
                "In spite of a seccomp filter, if it allows openat, mmap, mprotect, madvise");
  verb.add_flag("-q,--quiet", options.quiet, "Only errors");
}

}  // namespace

void add_attach(CLI::App& verb, AttachOptions& options) {
  describe(verb, "asynctrace attach [OPTIONS] PID",
           "Brings the agent into a running process. One of its threads is held for some milliseconds; the "
           "others\n"
           "run on. Tasks are known from their next poll on. The segment file goes where `run` puts it.\n\n"
           "Example:\n"
           "  asynctrace attach 4242 && asynctrace dump 4242\n");
  add_common(verb, options);
  add_size(verb, "--max-size", options.max_size, "Limit of the segment file (default 512M)");
  add_hooks(verb, options.hooks);
}

void add_detach(CLI::App& verb, AttachOptions& options) {
  describe(
      verb, "asynctrace detach [OPTIONS] PID",
      "The process calls its own functions again. The library stays in it, and does nothing; attach works "
      "again.\n");
  add_common(verb, options);
}

}  // namespace asynctrace
