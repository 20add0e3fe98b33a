// ModuleFiles: the files that tell of a module's code, found by path and build-id. Reads the file system, and
// asks a debuginfod server if it is given one.
#pragma once

#include <memory>
#include <string>

#include "cli/snapshot.hpp"
#include "cli/symbols/debug_file.hpp"
#include "cli/symbols/debuginfod.hpp"
#include "cli/symbols/elf_file.hpp"
#include "cli/symbols/frame.hpp"
#include "cli/symbols/symbol_options.hpp"

namespace asynctrace {

struct ModuleFiles {
  ModuleStatus refused;                 // why there is no file
  std::unique_ptr<ElfFile> file;        // the module's own, or a debug file in its place
  std::unique_ptr<ElfFile> debug_file;  // what `file` lacks; null: it lacks nothing, or none is found

  // Which of the two has the better symbol table; only where there is a `file`.
  ElfFile& names() const { return debug_file && debug_file->has_symtab() ? *debug_file : *file; }
};

// The build-id decides, wherever a file stands: one of another build is refused. Where the module is not (or
// not the same build) under its path below options.sysroot, a file of its build-id is taken from
// options.debug_dirs, else from the server.
ModuleFiles find_module_files(const Module& module, const SymbolOptions& options, DebugDirectories& dirs,
                              DebuginfodClient* server);

}  // namespace asynctrace
