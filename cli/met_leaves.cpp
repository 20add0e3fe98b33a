#include "cli/met_leaves.hpp"

#include <algorithm>
#include <span>

namespace asynctrace {
namespace {

// Whether both can be one leaf. The leaf's own function calls the agent at another place when it is polled on
// request than when it begins to wait, and may then be called by the runtime itself, so that frames between
// it and the await are missing; the awaits are the same.
bool can_be_one(const Leaf& a, const Leaf& b, const std::vector<Stack>& stacks) {
  if (!a.stack || !b.stack) return false;
  std::span<const uint64_t> shorter = stacks[*a.stack].pcs, longer = stacks[*b.stack].pcs;
  if (shorter.size() > longer.size()) std::swap(shorter, longer);
  if (shorter.size() < 2) return false;
  const auto awaits = shorter.subspan(1);
  return std::ranges::equal(awaits, longer.last(awaits.size()));
}

}  // namespace

void merge_met(std::vector<Leaf> met, std::vector<Leaf>& leaves, const std::vector<Stack>& stacks) {
  if (met.empty()) return;
  const size_t told = leaves.size();
  for (Leaf& leaf : leaves) leaf.confirmed = false;
  for (Leaf& leaf : met) {
    leaf.met = leaf.confirmed = true;
    const auto is_like = [&](const Leaf& other) { return can_be_one(other, leaf, stacks); };
    const auto begin = leaves.begin(), end = begin + static_cast<ptrdiff_t>(told);
    // Where as many were told as were met it does not matter which is which; else nobody knows.
    const bool all = std::count_if(begin, end, is_like) == std::count_if(met.begin(), met.end(), is_like);
    const auto same =
        std::find_if(begin, end, [&](const Leaf& other) { return !other.met && is_like(other); });
    if (all && same != end) {
      same->met = same->confirmed = true;
    } else {
      leaves.push_back(leaf);
    }
  }
}

}  // namespace asynctrace
