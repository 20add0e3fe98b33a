// How a loaded module's calls reach other modules: its slots for imported functions (GOT), and what it
// exports. Reads the module's own dynamic section in memory; takes no lock, opens nothing.
#pragma once

#include <cstdint>

#include "agent/modules.hpp"

namespace asynctrace::agent {

// "" where it has none.
const char* soname(const LoadedModule& module);

// Run-time address of the function that it defines under this name; 0: none, or one that is chosen at run
// time.
uint64_t exported_function(const LoadedModule& module, const char* name);

struct Import {
  const char* name;
  void** slot;
  bool may_be_unresolved;  // bound at its first call: until then the slot leads back into the module itself
};

// `visit` is called for every slot that holds the address of an imported function, or of an exported one of
// its own that another module may stand before.
void for_each_function_slot(const LoadedModule& module, void (*visit)(const Import& import, void* context),
                            void* context);

}  // namespace asynctrace::agent
