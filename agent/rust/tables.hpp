// The waker tables and task tables found in the program, and the functions that stood in their slots. Filled
// at start and when a library comes, by one thread at a time; read by the hooks. A row outlives its library:
// it is taken again by the same function, or once no free one is left. common/rust_symbols.cpp is the one
// place that names a runtime.
#pragma once

#include <atomic>
#include <cstdint>

#include "agent/arch/thunks.hpp"
#include "agent/elf_symbols.hpp"
#include "agent/modules.hpp"
#include "common/segment.hpp"

namespace asynctrace::agent {

// std::task::RawWakerVTable
struct WakerVtable {
  Words (*clone)(const void* data);
  void (*wake)(const void* data);
  void (*wake_by_ref)(const void* data);
  void (*drop)(const void* data);
};

inline constexpr uint16_t kNoTable = 0xffff;

enum class WakerKind : uint8_t {
  kTask,     // of a task of a runtime that we know: its data is the task's header
  kBlockOn,  // of a thread that polls a future itself
  kOther,    // a combinator's, or not known
};

enum class LayoutState : uint8_t { kUnknown, kShown, kRefuted };

struct WakerTable {
  uint64_t address;  // where the program's table lies: what its clone returns
  WakerVtable original;
  WakerKind kind;
  segment::RuntimeId runtime;       // of kTask
  std::atomic<bool> off;            // its clone returned something else than this table
  std::atomic<LayoutState> layout;  // see task_header.hpp
};

struct PollFunction {
  Words (*original)(void* header);
  segment::RuntimeId runtime;
  std::atomic<uint16_t> waker_table;  // of the same runtime; kNoTable: not known yet
  uint64_t own_clone;                 // the waker's clone function that its table names, 0: none
};

using HeaderFunction = void (*)(void* header);
using OutputFunction = void (*)(void* header, void* output, void* waker);

struct Tables {
  uint32_t waker_count = 0;
  uint32_t poll_count = 0;
  WakerTable* wakers = nullptr;       // by clone thunk number
  PollFunction* polls = nullptr;      // by poll thunk number = index of segment::kPollers
  PollFunction* shutdowns = nullptr;  // by shutdown thunk number
  HeaderFunction* deallocs = nullptr;
  HeaderFunction* schedules = nullptr;
  OutputFunction* outputs = nullptr;
  uint32_t shutdown_count = 0;
  uint32_t dealloc_count = 0;
  uint32_t schedule_count = 0;
  uint32_t output_count = 0;
};
extern Tables g_tables;

// Makes room for the rows. False: the limits of the process forbid it.
bool start_tables();

// Looks a module over. True: a runtime that we know is in it, or wakers of some other; nothing is changed
// yet. `symbols` are its own.
bool find_tables(const LoadedModule& module, const ElfSymbols& symbols);

// Puts the thunks into the slots that find_tables() found since the last time.
void patch_tables();

// Whether the thunks are still where they were put: another copy of a library may lie there by now.
bool has_our_thunks(const LoadedModule& module);

// Its slots are gone.
void forget_tables(const LoadedModule& module);

// Writes the poll functions that the segment does not know yet.
void publish_pollers();
// For a new segment.
void republish_pollers();

}  // namespace asynctrace::agent
