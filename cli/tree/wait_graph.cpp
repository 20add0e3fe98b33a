#include "cli/tree/wait_graph.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace asynctrace {

void WaitGraph::add_place(size_t task, std::vector<size_t> targets) {
  places_of_[task].push_back(places_.size());
  places_.push_back({task, std::move(targets)});
}

// The largest set in which every place of every task has a target in the set: a task with another way on is
// taken out, then those that waited for it alone, and so on.
std::vector<bool> WaitGraph::tasks_that_never_go_on() const {
  std::vector<bool> stuck = is_dead_end_;
  std::vector<std::vector<size_t>> awaited_at(stuck.size());  // task -> places
  std::vector<size_t> hopeless(places_.size(), 0);            // of a place: targets in the set
  for (size_t task = 0; task < stuck.size(); ++task) stuck[task] = stuck[task] || !places_of_[task].empty();
  for (size_t place = 0; place < places_.size(); ++place) {
    for (const size_t target : places_[place].targets) {
      awaited_at[target].push_back(place);
      hopeless[place] += stuck[target];
    }
  }
  std::vector<size_t> open;
  const auto look_at = [&](size_t place) {
    const size_t task = places_[place].task;
    if (hopeless[place] != 0 || is_dead_end_[task] || !stuck[task]) return;
    stuck[task] = false;
    open.push_back(task);
  };
  for (size_t place = 0; place < places_.size(); ++place) look_at(place);
  while (!open.empty()) {
    const size_t task = open.back();
    open.pop_back();
    for (const size_t place : awaited_at[task]) {
      --hopeless[place];
      look_at(place);
    }
  }
  return stuck;
}

// Ascending, `from` only where a way leads back to it.
std::vector<size_t> WaitGraph::reachable(size_t from, const std::vector<std::vector<size_t>>& edges) const {
  std::vector<size_t> found, open{from};
  std::vector<bool> seen(edges.size(), false);
  while (!open.empty()) {
    const size_t task = open.back();
    open.pop_back();
    for (const size_t next : edges[task]) {
      if (seen[next]) continue;
      seen[next] = true;
      found.push_back(next);
      open.push_back(next);
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

WaitGraph::Verdict WaitGraph::judge() const {
  const std::vector<bool> stuck = tasks_that_never_go_on();
  Verdict verdict;
  std::vector<size_t> number(stuck.size(), 0);
  for (size_t task = 0; task < stuck.size(); ++task) {
    if (!stuck[task] || is_dead_end_[task]) continue;
    number[task] = verdict.never_go_on.size();
    verdict.never_go_on.push_back(task);
  }
  const size_t count = verdict.never_go_on.size();
  std::vector<std::vector<size_t>> forward(count), backward(count);
  for (const Place& place : places_) {
    for (const size_t target : place.targets) {
      if (!stuck[place.task] || is_dead_end_[place.task] || !stuck[target] || is_dead_end_[target]) continue;
      forward[number[place.task]].push_back(number[target]);
      backward[number[target]].push_back(number[place.task]);
    }
  }
  std::vector<bool> placed(count, false);
  for (size_t task = 0; task < count; ++task) {
    if (placed[task] || backward[task].empty() || forward[task].empty()) continue;
    const std::vector<size_t> ahead = reachable(task, forward), behind = reachable(task, backward);
    std::vector<size_t> circle;
    std::set_intersection(ahead.begin(), ahead.end(), behind.begin(), behind.end(),
                          std::back_inserter(circle));
    for (size_t& member : circle) {
      placed[member] = true;
      member = verdict.never_go_on[member];
    }
    if (!circle.empty()) verdict.circles.push_back(std::move(circle));
  }
  return verdict;
}

}  // namespace asynctrace
