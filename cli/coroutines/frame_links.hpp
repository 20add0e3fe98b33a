// Who awaits whom. A coroutine that awaits another one leaves a way back to itself in that one's promise;
// each link knows by which rule it was found, and whether the awaiting one bears it out. Allocates.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cli/census/memory.hpp"
#include "cli/coroutines/frame_scan.hpp"
#include "cli/coroutines/function_facts.hpp"

namespace asynctrace {

// A frame and what is known of where it stands.
struct PlacedFrame {
  CoroutineFrame frame;
  CoroutineState state = CoroutineState::kSuspended;
  std::optional<uint64_t> number = {};  // of its suspension, see FrameCode
  bool may_run = false;                 // a thread may be executing it, which cannot be told
};

struct FrameLink {
  CoroutineLink kind = CoroutineLink::kNone;
  bool sure = true;
  uint32_t awaiting = 0;  // index into the frames
};

// One for each of `frames`, which are by address. Without circles.
std::vector<FrameLink> link_frames(const Memory& memory, std::span<const PlacedFrame> frames,
                                   FunctionFacts& facts);

}  // namespace asynctrace
