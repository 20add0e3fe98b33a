// The coroutines of a loaded module, by the functions that compilers make of each: one that resumes it and
// one or two that destroy it, whose addresses are the first two words of every frame. Reads the module's
// symbol table; nothing of the process. Allocates.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/snapshot.hpp"
#include "cli/symbols/module_files.hpp"

namespace asynctrace {

enum class CoroutineCompiler : uint8_t { kGcc, kClang };

// Of the code in the process.
struct AddressRange {
  uint64_t start = 0;
  uint64_t end = 0;
  bool contains(uint64_t address) const { return address >= start && address < end; }
};

// Addresses are those in the process.
struct CoroutineFunction {
  uint32_t module = 0;  // index into Snapshot::modules
  CoroutineCompiler compiler = CoroutineCompiler::kGcc;
  AddressRange resume;
  std::vector<uint64_t> destroys;
  std::vector<uint64_t> cleanups;  // clang's: of frames inside of their caller's, or on its stack
  // Where else its body's code lies: parts that were moved out of the way, and the function that the program
  // calls, which may hold what comes before the first suspension. The latter comes first, if it is known.
  std::vector<AddressRange> other_code;
  bool has_ramp = false;  // of other_code
  // Linkage names of the functions as the program calls them. Several where the linker has folded their code
  // into one: which of them a frame belongs to cannot be told.
  std::vector<std::string> names;
};

// In the order of their resume addresses.
std::vector<CoroutineFunction> find_coroutine_functions(uint32_t index, const Module& module,
                                                        const ModuleFiles& files);

}  // namespace asynctrace
