// Stacks of a known number of physical frames, to capture. chain.cpp is compiled once with frame pointers,
// which a walk along them needs, and once without, as Rust's and C++'s release builds are.
#pragma once

#include <cstdint>

namespace asynctrace::bench {

// How often to capture; filled in: what the last capture returned, and the CPU time of one in nanoseconds.
struct Loop {
  uint64_t (*capture)();
  uint64_t calls;
  uint64_t captured = 0;
  double ns_per_call = 0;
};

// Calls loop.capture from the last of `frames` nested functions, of which this is the first; at least 2.
namespace framed {
void run_below(int frames, Loop& loop);
}
namespace frameless {
void run_below(int frames, Loop& loop);
}

}  // namespace asynctrace::bench
