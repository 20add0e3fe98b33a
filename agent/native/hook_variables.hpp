// Where the program's runtimes expect the agent's functions: the data symbol asynctrace_hooks of
// common/include/asynctrace.h, one in each module that includes it. One thread at a time.
#pragma once

#include "agent/elf_symbols.hpp"

namespace asynctrace::agent {

// True: the module has one; nothing is changed yet. `symbols` are its own.
bool find_hook_variables(const LoadedModule& module, const ElfSymbols& symbols);

// Its memory is gone.
void forget_hook_variables(const LoadedModule& module);

// Puts the address of the hook table into each of them, with one atomic store.
void fill_hook_variables();

// Makes them null again. Polls and traces that have begun remember the table and end by it.
void clear_hook_variables();

}  // namespace asynctrace::agent
