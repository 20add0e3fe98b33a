// Chains: what a walk found, as ways from a task to each of the places where it waits, and as stacks that
// stand for them. Allocates.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/census/future_walker.hpp"
#include "cli/snapshot.hpp"
#include "cli/symbols/symbolizer.hpp"

namespace asynctrace {

struct Chain {
  std::vector<const FutureNode*> nodes;  // outermost first; they belong to the walk
  std::string_view reason;               // why it is not known what the last one waits for; "": it is
};
std::vector<Chain> chains_of(const std::vector<FutureNode>& nodes);

// What tells one place of a task from another.
using Place = std::vector<std::pair<std::string, uint32_t>>;
Place place_of(const Chain& chain);

// Of two looks at one task.
bool same_places(const std::vector<Chain>& a, const std::vector<Chain>& b);

// Adds stacks to a snapshot and their frames to its symbols, each distinct one once.
class StackMaker {
 public:
  StackMaker(Snapshot& snapshot, Symbolizer& symbols) : snapshot_(snapshot), symbols_(symbols) {}
  uint32_t stack(const Chain& chain);

 private:
  Snapshot& snapshot_;
  Symbolizer& symbols_;
  std::map<Place, uint32_t> known_;
};

}  // namespace asynctrace
