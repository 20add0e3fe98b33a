// Frames of C++20 coroutines in memory that is given back. The CLI knows a frame by the two addresses that it
// begins with. glibc's allocator writes over them, and tells which of its blocks are in use; others do
// neither, so that a coroutine which was destroyed while it was suspended would look as if it still waited.
// Where the program has such an allocator, the agent stands before `operator delete` in the slots of those
// modules that have coroutines, and clears the addresses first. The language has it that such memory is
// nobody's any more.
//
// Frames that are given back otherwise, to an allocator of the promise's own or without a call through a
// slot, stay as they are.
#pragma once

#include "agent/elf_symbols.hpp"
#include "agent/modules.hpp"

namespace asynctrace::agent {

// Whether the program's allocator leaves frames as they were. Takes the loader's lock; before what follows.
void start_freed_frames();

// Looks whether the module has coroutines, as far as its symbols tell. One thread at a time.
void find_coroutines(LoadedModule& module, const ElfSymbols& symbols);

// Patches the slots of those modules that have come since the last time. One thread at a time.
void patch_deletes();

}  // namespace asynctrace::agent
