// RangeMap: half-open address ranges, overlapping or not, each with a value -> the value at an address.
// Filled once, sealed, then asked. Allocates while filled; find() does not.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace asynctrace {

class RangeMap {
 public:
  void add(uint64_t begin, uint64_t end, uint32_t value) {
    if (begin < end) ranges_.push_back({begin, end, value});
  }
  // Makes the ranges disjoint. Where several overlap the shortest wins (a nested function over the one
  // around it), then the one with the lowest value.
  void seal();
  std::optional<uint32_t> find(uint64_t address) const;
  bool empty() const { return ranges_.empty(); }

 private:
  struct Range {
    uint64_t begin;
    uint64_t end;
    uint32_t value;
  };
  std::vector<Range> ranges_;
};

}  // namespace asynctrace
