// Wait-for graph: which tasks can never go on because of whom they wait for. Numbers only, so that it knows
// nothing of leaves and locks.
#pragma once

#include <cstddef>
#include <vector>

namespace asynctrace {

class WaitGraph {
 public:
  explicit WaitGraph(size_t tasks) : places_of_(tasks), is_dead_end_(tasks, false) {}

  // `task` cannot go on by itself: nothing can wake it, or its thread hangs in it.
  void add_dead_end(size_t task) { is_dead_end_[task] = true; }
  // A place where `task` waits, one of possibly several. `targets`: tasks of which each has to go on first,
  // say all readers that keep a writer out; none: something else may end this wait.
  void add_place(size_t task, std::vector<size_t> targets);

  struct Verdict {
    // Ascending. Wherever these wait, they wait for a dead end or for each other. Dead ends are not among
    // them.
    std::vector<size_t> never_go_on;
    // Those of them that wait for each other in a circle, each circle ascending.
    std::vector<std::vector<size_t>> circles;
  };
  Verdict judge() const;

 private:
  struct Place {
    size_t task;
    std::vector<size_t> targets;
  };
  std::vector<bool> tasks_that_never_go_on() const;
  std::vector<size_t> reachable(size_t from, const std::vector<std::vector<size_t>>& edges) const;

  std::vector<Place> places_;
  std::vector<std::vector<size_t>> places_of_;  // indexes into places_
  std::vector<bool> is_dead_end_;
};

}  // namespace asynctrace
