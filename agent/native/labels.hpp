// Words that the program uses again and again (what a leaf waits for, what a runtime is called), each once,
// as numbers. Any thread; lock-free; allocates from private memory only.
#pragma once

#include <cstdint>

namespace asynctrace::agent {

bool start_labels();

// What stands in the upper half of `leaf_class` below: events of poll(2), as segment::Label has them.
inline constexpr uint32_t kPollEventsShift = 16;
inline constexpr uint32_t kLeafClassMask = 0xffff;

// The label's number in segment::kLabels; segment::kNoLabel: no room, or another thread is just adding it.
uint16_t label_number(const char* text, uint32_t leaf_class);

// Fills the segment of a forked child.
void republish_labels();

}  // namespace asynctrace::agent
