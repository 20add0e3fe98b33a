// Import slots: the words of a module's GOT through which it calls functions of others. Any thread; allocates
// nothing. The module must stay loaded meanwhile.
#pragma once

#include "agent/modules.hpp"
#include "agent/patch.hpp"

namespace asynctrace::agent {

// Whether the loader has bound the program's calls to the agent: it was preloaded. False: it was brought in
// later, behind libc. Takes the loader's lock.
bool comes_before_libc();

// Looks up what the agent exports and what each of it stands before. Takes the loader's lock.
void start_imports();

// For a module that the loader bound past the agent: the slots of every function that the agent exports,
// where they lead to the one that it stands before or are not bound yet (lazy binding). What else a slot
// holds stays.
void redirect_imports(const LoadedModule& module, SlotPatcher& patcher);

}  // namespace asynctrace::agent
