// What glibc's malloc says of addresses: whether a block of memory that is in use begins there. Walks the
// chunks of its heaps from the first one on, as far as the last address that is asked for: nothing else tells
// a block in use from what a freed one, since merged with its neighbours, has left behind. The process goes
// on meanwhile; a heap whose chunks make no sense is walked again. Trusts nothing that it reads. Allocates.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cli/census/process_image.hpp"

namespace asynctrace {

enum class BlockState : uint8_t {
  kUnknown,  // in no heap of glibc's
  kInUse,    // a block begins here
  kInside,   // inside of a block in use
  kFree,
};

struct Block {
  BlockState state = BlockState::kUnknown;
  // Of the block in use that the address is in.
  uint64_t start = 0, size = 0;
};

// For each of `addresses`, which must be sorted.
std::vector<Block> find_blocks(const ProcessImage& image, std::span<const uint64_t> addresses);

}  // namespace asynctrace
