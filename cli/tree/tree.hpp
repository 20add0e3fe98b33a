// The reference model of tokio's task traces (tokio/src/runtime/task/trace/{symbol,tree}.rs): symbols with
// their position, and the tree of several traces. A node is any number that stands for one line of output: a
// frame, or a row as it will be displayed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/symbols/symbolizer.hpp"

namespace asynctrace {

// A node plus the hash of its parents, so that recursive calls at different depths stay apart.
struct Symbol {
  uint32_t node = 0;
  uint64_t parent_hash = 0;
  friend auto operator<=>(const Symbol&, const Symbol&) = default;
};

struct SymbolTrace {
  std::vector<Symbol> symbols;  // outermost first
  size_t count = 1;             // how many equal traces it stands for
};

// Return addresses, innermost first, to frames, outermost first, inlined calls expanded.
std::vector<uint32_t> to_frames(std::span<const uint64_t> pcs, FrameSource& symbols);

// `nodes` are outermost first.
SymbolTrace to_symboltrace(std::span<const uint32_t> nodes, size_t count = 1);

class Tree {
 public:
  static Tree from_trace(std::span<const SymbolTrace> traces);

  struct Line {
    std::string drawing;  // "│  └╼ "
    Symbol symbol;
    size_t traces = 0;  // that end here
    size_t depth = 0;   // a root's is 0
  };
  // Depth first; branches with more traces first, then by label.
  std::vector<Line> display(const std::function<std::string_view(uint32_t node)>& label) const;

 private:
  struct Node {
    size_t traces = 0;  // that pass through or end here
    size_t ends = 0;
    std::vector<Symbol> children;
  };
  using Label = std::function<std::string_view(uint32_t)>;
  void sort(std::vector<Symbol>& symbols, const Label& label) const;
  void display(const Symbol& symbol, bool is_last, const std::string& prefix, size_t depth,
               const Label& label, std::vector<Line>& lines) const;

  std::vector<Symbol> roots_;
  std::map<Symbol, Node> edges_;
};

}  // namespace asynctrace
