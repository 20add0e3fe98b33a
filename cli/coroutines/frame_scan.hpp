// Finds the frames of coroutines in memory: whatever begins with the addresses of a function that resumes and
// one that destroys the same coroutine. Linear in the memory; nothing here stops the process.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cli/census/process_image.hpp"
#include "cli/coroutines/coroutine_functions.hpp"

namespace asynctrace {

struct CoroutineFrame {
  uint64_t address = 0;
  uint32_t function = 0;   // index into the functions that were looked for
  bool has_ended = false;  // suspended for the last time: its first word is null then
  bool on_stack = false;
  bool is_inner = false;  // made to lie in the frame of its caller, a coroutine's or one on the stack
  bool verified = false;  // its memory is in use, as far as its allocator tells
  // Of the memory that it lies in, where that is known: for all but inner ones it begins there.
  uint64_t block = 0, size = 0;
};

// Whether there is one, and still as it was found. `functions` as in scan_for_frames().
bool is_still_there(const Memory& memory, const CoroutineFrame& frame,
                    std::span<const CoroutineFunction> functions);

// By address. `functions` are in the order of their resume addresses.
std::vector<CoroutineFrame> scan_for_frames(const ProcessImage& image,
                                            std::span<const CoroutineFunction> functions);

}  // namespace asynctrace
