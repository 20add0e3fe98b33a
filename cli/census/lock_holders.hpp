// Who holds the locks that tasks wait for, by two looks at the memory of all tasks. Allocates.
#pragma once

#include <string_view>
#include <vector>

#include "cli/census/block_on.hpp"
#include "cli/census/dwarf_types.hpp"
#include "cli/census/memory.hpp"
#include "cli/snapshot.hpp"
#include "cli/tree/report.hpp"

namespace asynctrace {

// The places where one task waits for locks.
struct LockLeaf {
  uint64_t task = 0;
  std::vector<uint32_t> stacks;  // into Snapshot::stacks
};
std::vector<LockLeaf> lock_leaves(const Report& report);

// Both add to the leaves of `snapshot`, whose report `report` is: the holder or why it is not known.
// `block_ons`: as found on the stacks; null: the agent has seen every one.
void add_holders(const std::vector<LockLeaf>& leaves, const Report& report, DwarfTypes& types,
                 const Memory& memory, const BlockOns* block_ons, Snapshot& snapshot);
void add_unknown_holders(const std::vector<LockLeaf>& leaves, const char* reason, Snapshot& snapshot);

}  // namespace asynctrace
