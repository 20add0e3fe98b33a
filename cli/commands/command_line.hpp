// The command line: flags, then ASYNCTRACE_* variables, then ~/.config/asynctrace.toml, turned into options
// for the verbs. The one file that knows CLI11 (command_line.cpp).
#pragma once

namespace asynctrace {

// Parses, runs the verb, tells its error. Gives the process's exit code.
int run_command_line(int argc, char** argv);

}  // namespace asynctrace
