// The futures that threads poll themselves, in a block_on: they lie on these threads' stacks, pinned by a
// variable of the function block_on, or by one of a function of that name that it calls. Allocates.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cli/census/future_walker.hpp"
#include "cli/native/native_stack.hpp"
#include "cli/snapshot.hpp"

namespace asynctrace {

struct BlockOn {
  pid_t tid = 0;
  Found future = {};
  bool is_running = false;  // the thread is in a poll of it
  uint64_t task = 0;        // id of the task in the snapshot that stands for it
  bool operator==(const BlockOn&) const = default;
};

struct BlockOns {
  std::vector<BlockOn> found;
  const char* unsure = nullptr;  // why another may hold a lock, for there may be more; static text
};

// Those of `module`, whose types these are, among the frames of `threads`.
BlockOns find_block_ons(std::span<const NativeThread> threads, const Module& module, TypeSource& types,
                        const Memory& memory);

}  // namespace asynctrace
