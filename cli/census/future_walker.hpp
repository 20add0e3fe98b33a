// FutureWalker: a suspended future in memory -> the tree of futures it waits for, as types tell it. Reads
// memory that may change or lie: depth, number of nodes and list lengths are bounded, cycles are seen. Not
// thread-safe. Allocates.
#pragma once

#include <set>
#include <span>
#include <string_view>
#include <unordered_map>

#include "cli/census/memory.hpp"
#include "cli/census/types.hpp"
#include "cli/symbols/symbolizer.hpp"

namespace asynctrace {

enum class FutureKind : uint8_t {
  kBody,    // an async fn, block or closure
  kFuture,  // any other future
};

enum class BodyState : uint8_t { kSuspended, kUnresumed, kReturned, kPanicked, kUnknown };

struct FutureNode {
  FutureKind kind = FutureKind::kFuture;
  BodyState state = BodyState::kSuspended;  // of a body
  // As the symbolizer spells the function that polls it; of a body with the line of its await, 0 where that
  // stands in a macro.
  Frame frame;
  TypeId type = kNoType;
  uint64_t address = 0;
  std::vector<FutureNode> children;  // what it waits for
  std::string_view reason;           // why what it waits for is not known; "" if it is, or for a leaf
};

class FutureWalker {
 public:
  FutureWalker(TypeSource& types, const Memory& memory) : types_(types), memory_(memory) {}

  // The future of the task at `header`; more than one node, or none, where that is no plain future.
  std::vector<FutureNode> walk_task(const TaskShape& shape, uint64_t header);
  std::vector<FutureNode> walk(TypeId type, uint64_t address);

  // Those of the types to collect among the values that the last walk's futures keep across their awaits.
  const std::vector<Found>& kept() const { return kept_; }
  // Something was not followed, so that kept() may lack values.
  bool incomplete() const { return incomplete_; }
  // Types for kept(), by their paths without generic arguments; before the first walk. Must outlive this.
  void collect(std::span<const std::string_view> paths) { collected_ = paths; }

  // Whether a body of this type can keep such a value at an await in this line; any line where none has it.
  bool may_keep_at(TypeId body, uint32_t line);

  // A member by name; null: none.
  const Member* member(TypeId type, std::string_view name);
  // The first value inside (type, address) whose type has this path without generic arguments, depth first in
  // the order of members; through pointers only if `through_pointers`.
  std::optional<Found> find_inside(TypeId type, uint64_t address, std::string_view path,
                                   bool through_pointers, int depth = 0);

 private:
  using Nodes = std::vector<FutureNode>;
  void reset();
  void follow(TypeId type, uint64_t address, int depth, Nodes& nodes);
  void follow_body(TypeId type, uint64_t address, int depth, Nodes& nodes);
  void follow_future(TypeId type, uint64_t address, int depth, Nodes& nodes);
  void follow_members(TypeId type, uint64_t address, int depth, Nodes& nodes);
  void follow_dyn(const Type& type, uint64_t address, int depth, Nodes& nodes);
  void add_polled(const Type& future, Nodes& nodes);
  void follow_unordered(TypeId type, uint64_t address, int depth, Nodes& nodes);
  const Variant* active_variant(const Type& type, uint64_t address);
  uint64_t disabled_branches(const Type& closure, uint64_t address);
  void unknown(TypeId type, uint64_t address, std::string_view reason, Nodes& nodes);
  void collect_kept(TypeId type, uint64_t address, int depth);
  bool may_keep(TypeId type, int depth = 0);
  bool holds_future(TypeId type, int depth = 0);

  TypeSource& types_;
  const Memory& memory_;
  std::span<const std::string_view> collected_;
  std::unordered_map<TypeId, bool> holds_future_, may_keep_;
  std::set<std::pair<TypeId, uint64_t>> visited_;
  std::vector<Found> kept_;
  size_t nodes_ = 0;
  size_t looks_ = 0;  // at values, since the last walk or search began
  bool incomplete_ = false;
};

}  // namespace asynctrace
