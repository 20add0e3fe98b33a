// A trace as a tree of function names, after tokio's trace::Tree: the same drawing, in an order that is
// always the same. For use inside the program: reads symbol tables from files, allocates, is slow.
#pragma once

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "asynctrace/trace.hpp"

namespace asynctrace {

namespace detail {

// gcc calls the body of a coroutine "f(Frame*) [clone .actor]", Frame being a local type of f that is called
// as f's own mangled name and ".Frame". That mangled name; "" of another function.
inline std::string coroutine_of(const std::string& raw) {
  constexpr std::string_view kFrame = ".Frame";
  const size_t end = raw.find(kFrame);
  for (size_t start = raw.find("_Z", 1); end != std::string::npos && start < end;
       start = raw.find("_Z", start + 1)) {
    const std::string length = std::to_string(end + kFrame.size() - start);
    if (start >= length.size() && raw.compare(start - length.size(), length.size(), length) == 0)
      return raw.substr(start, end - start);
  }
  return {};
}

}  // namespace detail

// The function that `pc` returns into, demangled; "module+0x12" where it has no name.
inline std::string symbol_name(const void* pc) {
  char text[4096] = "";
  asynctrace_symbol(pc, text, sizeof(text));
  std::string raw = text;
  if (std::string coroutine = detail::coroutine_of(raw); !coroutine.empty()) raw = std::move(coroutine);
  const std::unique_ptr<char, decltype(&std::free)> name(
      abi::__cxa_demangle(raw.c_str(), nullptr, nullptr, nullptr), &std::free);
  return name ? name.get() : raw;
}

// Adjacency of names, each at its place: the path from its root tells recursive calls apart.
class Tree {
 public:
  // Names of one backtrace, outermost first.
  void add(const std::vector<std::string>& names) {
    Node* node = &top_;
    for (const std::string& name : names) node = &node->children[name];
  }

  static Tree from_trace(const Trace& trace) {
    Tree tree;
    for (const Trace::Backtrace& backtrace : trace.backtraces()) {
      std::vector<std::string> names;
      for (auto pc = backtrace.rbegin(); pc != backtrace.rend(); ++pc) names.push_back(symbol_name(*pc));
      tree.add(names);
    }
    return tree;
  }

  friend std::ostream& operator<<(std::ostream& out, const Tree& tree) {
    for (const auto& [name, node] : tree.top_.children) {
      out << "╼ " << name << '\n';
      node.draw(out, "  ");
    }
    return out;
  }

 private:
  struct Node {
    std::map<std::string, Node> children;

    void draw(std::ostream& out, const std::string& prefix) const {
      for (const auto& [name, child] : children) {
        const bool last = name == children.rbegin()->first;
        out << prefix << (last ? "└╼ " : "├╼ ") << name << '\n';
        child.draw(out, prefix + (last ? "   " : "│  "));
      }
    }
  };
  Node top_;
};

inline std::ostream& operator<<(std::ostream& out, const Trace& trace) {
  return out << Tree::from_trace(trace);
}

}  // namespace asynctrace
