// Finds libraries with poll loops among the loaded modules, and stands before their functions in the slots
// through which other modules, and they themselves, call them. Exports nothing: a program that has a function
// of such a name, or asks whether there is one, sees what it would see without the agent.
#pragma once

#include <cstdint>

#include "agent/loops/table.hpp"
#include "agent/modules.hpp"

namespace asynctrace::agent {

// One function that the agent stands before, by the number of its thunk.
struct LoopFunction {
  const Row* row;
  const Library* library;
  void* real;
  void* target;    // what is called: it, or Row::instead
  uint64_t start;  // of the library's code
  uint64_t end;
};
const LoopFunction& loop_function(uint32_t number);

// What a variable of such a library stands for; null: it is none.
const WatcherType* watcher_type(uint64_t address);
// Whether Library::naming has made the type at this address.
bool names_its_sources(uint64_t address);

// The first call of such a function asks this to begin to trace; false: it cannot, or not yet.
void start_loops(bool (*begin_tracing)());
bool begin_tracing();

// Looks whether the module is such a library. One thread at a time.
bool find_loop_library(LoadedModule& module);
void find_loop_libraries();  // among all that are loaded

// Of one of user_rows(), as of the last patch_loop_calls().
HookState state_of(const Row& row);
// Or a module that makes its own, see plain.hpp: known once its calls are patched.
bool has_loop_library();

// Whether a module makes its own, patched or not; see plain.hpp.
bool has_plain_caller();

// Whether another module than these libraries calls one, as of the last patch_loop_calls().
bool loop_library_has_caller();

// Patches the slots of the modules that have come since the last time; of all, where a library has come.
void patch_loop_calls();

}  // namespace asynctrace::agent
