#include "cli/tree/tree.hpp"

#include <algorithm>

namespace asynctrace {
namespace {

// splitmix64's finalizer: every bit of both inputs reaches every bit of the hash.
uint64_t combine(uint64_t hash, uint32_t node) {
  uint64_t x = hash + 0x9e3779b97f4a7c15 + node;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

std::vector<uint32_t> to_frames(std::span<const uint64_t> pcs, FrameSource& symbols) {
  std::vector<uint32_t> frames;
  for (const uint64_t pc : pcs) {
    const std::span<const uint32_t> expanded = symbols.resolve_return_address(pc);
    frames.insert(frames.end(), expanded.begin(), expanded.end());
  }
  std::reverse(frames.begin(), frames.end());
  return frames;
}

SymbolTrace to_symboltrace(std::span<const uint32_t> nodes, size_t count) {
  SymbolTrace trace{{}, count};
  trace.symbols.reserve(nodes.size());
  uint64_t hash = 0;
  for (const uint32_t node : nodes) {
    trace.symbols.push_back({node, hash});
    hash = combine(hash, node);
  }
  return trace;
}

Tree Tree::from_trace(std::span<const SymbolTrace> traces) {
  Tree tree;
  for (const SymbolTrace& trace : traces) {
    std::vector<Symbol>* siblings = &tree.roots_;
    Node* node = nullptr;
    for (const Symbol& symbol : trace.symbols) {
      const auto [entry, is_new] = tree.edges_.try_emplace(symbol);
      if (is_new) siblings->push_back(symbol);
      node = &entry->second;
      node->traces += trace.count;
      siblings = &node->children;
    }
    if (node != nullptr) node->ends += trace.count;
  }
  return tree;
}

void Tree::sort(std::vector<Symbol>& symbols, const Label& label) const {
  std::sort(symbols.begin(), symbols.end(), [&](const Symbol& a, const Symbol& b) {
    const size_t traces_a = edges_.at(a).traces, traces_b = edges_.at(b).traces;
    if (traces_a != traces_b) return traces_a > traces_b;
    return label(a.node) < label(b.node);
  });
}

std::vector<Tree::Line> Tree::display(const Label& label) const {
  std::vector<Line> lines;
  std::vector<Symbol> roots = roots_;
  sort(roots, label);
  for (const Symbol& root : roots) display(root, true, "", 0, label, lines);
  return lines;
}

void Tree::display(const Symbol& symbol, bool is_last, const std::string& prefix, size_t depth,
                   const Label& label, std::vector<Line>& lines) const {
  const Node& node = edges_.at(symbol);
  const bool is_root = lines.empty() || prefix.empty();
  lines.push_back({prefix + (is_root ? "╼ " : is_last ? "└╼ " : "├╼ "), symbol, node.ends, depth});

  std::vector<Symbol> children = node.children;
  sort(children, label);
  // Children of a root stand below its name, two columns in.
  const std::string next = prefix + (is_root ? "  " : is_last ? "   " : "│  ");
  for (const Symbol& child : children)
    display(child, &child == &children.back(), next, depth + 1, label, lines);
}

}  // namespace asynctrace
