#include <malloc.h>

#include <exception>

#include "cli/commands/command_line.hpp"
#include "cli/commands/messages.hpp"

int main(int argc, char** argv) {
  // What a dump of a million tasks lets go of is given back at once, not kept for later.
  ::mallopt(M_MMAP_THRESHOLD, 1 << 20);
  try {
    return asynctrace::run_command_line(argc, argv);
  } catch (const std::exception& error) {
    // Only what no caller can handle comes this far: memory, or a bug.
    asynctrace::print_error({error.what(), "this is a bug in asynctrace", 125});
    return 125;
  }
}
