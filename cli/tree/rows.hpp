// The drawn form of one combination of leaves.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "cli/tree/report.hpp"
#include "cli/tree/tree.hpp"

namespace asynctrace {

// All that the display of a leaf depends on, but for its duration.
struct LeafKey {
  std::optional<uint32_t> stack;
  uint64_t joins = 0;    // id of the awaited task where the row names it, else 0
  bool is_held = false;  // it is not joined, but holds what is waited for
  LeafReason reason = LeafReason::kNone;
  std::optional<uint32_t> calls = {};   // the function of a watcher, index into Report::types
  std::optional<uint32_t> causes = {};  // index into Report::drawn_causes
  friend auto operator<=>(const LeafKey&, const LeafKey&) = default;
};
LeafKey leaf_key(const ReportTask& task, const ReportLeaf& leaf, const Report& report);

class RowBuilder {
 public:
  RowBuilder(const Report& report, FrameView view) : report_(report), view_(view) {}

  struct Drawn {
    std::vector<Row> rows;
    std::vector<uint32_t> row_of;  // for each key given, the row that shows it
    std::string text;              // everything displayed, to merge by
  };
  // `keys` are sorted; equal ones stand for siblings.
  Drawn draw(const std::vector<LeafKey>& keys);
  // A task without a leaf: its type, if known, and why there is none.
  Drawn draw_unknown(std::optional<uint32_t> type, std::string_view what);
  // A running task's native stack: index into Report::stacks. Last what the user's innermost function calls.
  std::vector<Row> draw_native(uint32_t stack);

 private:
  struct Interned {
    std::string label;  // what sorts and tells rows apart
    std::string text, position;
    bool is_user, is_leaf;
    std::optional<uint32_t> frame;
    std::optional<uint32_t> causes = {};  // of a leaf
  };
  std::vector<uint32_t> path(const LeafKey& key);
  uint32_t intern(std::string text, std::string position, bool is_user, bool is_leaf,
                  std::optional<uint32_t> frame = std::nullopt);
  uint32_t intern_leaf(std::string text, std::optional<uint32_t> causes);
  Drawn finish(const std::vector<SymbolTrace>& traces);

  const Report& report_;
  const FrameView view_;
  std::vector<Interned> interned_;
  std::unordered_map<std::string, uint32_t> by_label_;
};

}  // namespace asynctrace
