// Call frame information of one code address: how to find the caller's frame. Reads .eh_frame of loaded
// modules, which is trusted like the code beside it. Any thread, in a signal; allocates nothing. Stands
// beside libunwind for one question that libunwind's interface cannot answer: *which rule* gave a frame its
// address, because only frames at a fixed distance may be recognised again without a walk.
#pragma once

#include <cstdint>

#include "agent/modules.hpp"

namespace asynctrace::agent {

struct FunctionRange {
  uint64_t start;
  uint64_t end;
};

// The rule at an address, as far as it is one of the plain ones.
struct FrameRule {
  enum class Base : uint8_t { kStackPointer, kFramePointer, kOther };
  Base base = Base::kOther;
  int32_t cfa_offset = 0;            // CFA = base register + this
  bool saves_frame_pointer = false;  // the caller's frame pointer lies at CFA + saved_at
  int32_t saved_at = 0;
  bool plain = false;  // return address at CFA - 8, frame pointer unchanged or saved at a fixed place
};

// The function that the unwind tables say `address` lies in. False: none.
bool find_function(const LoadedModule& module, uint64_t address, FunctionRange& range);

// Whether the unwind tables know the code that a frame with return address `pc` is in.
bool has_unwind_table(uint64_t pc);

// Rule for a caller frame whose return address is `pc`.
FrameRule frame_rule(uint64_t pc);

}  // namespace asynctrace::agent
