// The waker tables and task tables found in the program, and the functions that stood in their slots. Filled
// at start, then read by the hooks. symbol_names.cpp is the one place that names a runtime.
#pragma once

#include <atomic>
#include <cstdint>

#include "agent/arch/thunks.hpp"
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
};
extern Tables g_tables;

// Looks the executable over. True: a runtime that we know is in it; nothing is changed yet. Opens the
// executable's file for its symbols; start-up only.
bool find_tables();

// Puts the thunks into the slots that find_tables() found.
void patch_tables();

// Writes the poll functions into the segment.
void publish_pollers();

}  // namespace asynctrace::agent
