#include "cli/symbols/range_map.hpp"

#include <algorithm>
#include <iterator>
#include <set>
#include <tuple>

namespace asynctrace {

void RangeMap::seal() {
  std::sort(ranges_.begin(), ranges_.end(), [](const Range& a, const Range& b) {
    return std::tie(a.begin, a.end, a.value) < std::tie(b.begin, b.end, b.value);
  });
  const auto preferred = [](const Range& a, const Range& b) {
    return std::tuple(a.end - a.begin, a.value, a.begin) < std::tuple(b.end - b.begin, b.value, b.begin);
  };
  std::multiset<Range, decltype(preferred)> open(preferred);
  std::vector<Range> disjoint;
  disjoint.reserve(ranges_.size());
  uint64_t at = 0;

  const auto emit_until = [&](uint64_t limit) {
    while (!open.empty() && at < limit) {
      const Range best = *open.begin();
      if (best.end <= at) {
        open.erase(open.begin());
        continue;
      }
      const uint64_t end = std::min(best.end, limit);
      if (!disjoint.empty() && disjoint.back().end == at && disjoint.back().value == best.value) {
        disjoint.back().end = end;
      } else {
        disjoint.push_back({at, end, best.value});
      }
      at = end;
    }
    at = std::max(at, limit);
  };
  for (const Range& range : ranges_) {
    emit_until(range.begin);
    open.insert(range);
  }
  emit_until(UINT64_MAX);
  ranges_ = std::move(disjoint);
}

std::optional<uint32_t> RangeMap::find(uint64_t address) const {
  const auto next = std::upper_bound(ranges_.begin(), ranges_.end(), address,
                                     [](uint64_t a, const Range& range) { return a < range.begin; });
  if (next == ranges_.begin()) return std::nullopt;
  const Range& range = *std::prev(next);
  if (address >= range.end) return std::nullopt;
  return range.value;
}

}  // namespace asynctrace
