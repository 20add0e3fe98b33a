#include "cli/census/chains.hpp"

#include <algorithm>

namespace asynctrace {
namespace {

// No code lies there, so that these addresses stand for stacks that have none.
constexpr uint64_t kNowhere = uint64_t{1} << 63;

std::string_view why_unknown(const FutureNode& node) {
  if (!node.reason.empty()) return node.reason;
  switch (node.state) {
    case BodyState::kSuspended: return {};
    case BodyState::kUnresumed: return "it has not been polled yet";
    case BodyState::kReturned:
    case BodyState::kPanicked: return "it has ended";
    case BodyState::kUnknown: break;
  }
  return "its state makes no sense";
}

void add_chains(const std::vector<FutureNode>& nodes, Chain& above, std::vector<Chain>& chains) {
  for (const FutureNode& node : nodes) {
    above.nodes.push_back(&node);
    const std::string_view reason = why_unknown(node);
    if (!reason.empty() || node.children.empty()) {
      chains.push_back(above);
      chains.back().reason = reason;
    } else {
      add_chains(node.children, above, chains);
    }
    above.nodes.pop_back();
  }
}

}  // namespace

std::vector<Chain> chains_of(const std::vector<FutureNode>& nodes) {
  Chain above;
  std::vector<Chain> chains;
  add_chains(nodes, above, chains);
  return chains;
}

Place place_of(const Chain& chain) {
  Place place;
  for (const FutureNode* node : chain.nodes) place.emplace_back(node->frame.function, node->frame.line);
  return place;
}

bool same_places(const std::vector<Chain>& a, const std::vector<Chain>& b) {
  return std::ranges::equal(a, b, [](const Chain& x, const Chain& y) {
    return x.reason == y.reason && place_of(x) == place_of(y);
  });
}

uint32_t StackMaker::stack(const Chain& chain) {
  const auto [entry, is_new] = known_.try_emplace(place_of(chain), snapshot_.stacks.size());
  if (!is_new) return entry->second;
  std::vector<Frame> innermost_first;
  for (auto node = chain.nodes.rbegin(); node != chain.nodes.rend(); ++node)
    innermost_first.push_back((*node)->frame);
  const uint64_t address = kNowhere + snapshot_.stacks.size();
  symbols_.define(address, std::move(innermost_first));
  snapshot_.stacks.push_back({{address}});
  return entry->second;
}

}  // namespace asynctrace
