#include "cli/tree/groups.hpp"

#include <algorithm>
#include <map>
#include <tuple>

#include <fmt/format.h>

#include "cli/tree/resources.hpp"
#include "cli/tree/rows.hpp"

namespace asynctrace {
namespace {

enum class Place : uint8_t { kInside, kOutside, kNoWaker, kReadyNotServed, kWaitsOnSuspect };

// What the display of a task depends on.
struct Shape {
  Place place = Place::kInside;
  std::vector<LeafKey> keys;     // sorted
  std::optional<uint32_t> type;  // only where there is no leaf
  bool torn = false;             // the same
  bool operator==(const Shape&) const = default;
};

struct ShapeHash {
  size_t operator()(const Shape& shape) const {
    size_t hash = static_cast<size_t>(shape.place) * 31 + shape.type.value_or(0) + shape.torn;
    for (const LeafKey& key : shape.keys) {
      hash = (hash ^ key.stack.value_or(0) ^ key.joins << 24 ^ static_cast<size_t>(key.reason) << 56) *
             0x9e3779b97f4a7c15;
      hash ^= hash >> 29;
    }
    return hash;
  }
};

// Tasks of the shapes that read the same.
struct Merged {
  Place place = Place::kInside;
  Group group;
  std::vector<uint64_t> waits;                   // of the tasks
  std::vector<std::vector<uint64_t>> row_waits;  // of the leaves behind each row
};

Spread spread(std::vector<uint64_t>& values) {
  if (values.empty()) return {0, 0, 0, false};
  const auto middle = values.begin() + static_cast<ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  const auto [min, max] = std::minmax_element(values.begin(), values.end());
  return {*min, *middle, *max};
}

class GroupBuilder {
 public:
  GroupBuilder(Report& report, const ReportOptions& options, const SuspectFinder& suspects)
      : report_(report), suspects_(suspects), rows_(report, options.frames) {}

  void add(const ReportTask& task);
  void finish();

 private:
  struct Known {
    size_t merged;                 // index into merged_
    std::vector<uint32_t> row_of;  // for each key of the shape
  };
  bool is_outside(const ReportTask& task) const;
  Known& look_up(const Shape& shape);
  void add_to(const ReportTask& task, const Shape& shape);
  void add_resource(const ReportTask& task, std::vector<std::string>& resources) const;

  Report& report_;
  const SuspectFinder& suspects_;
  RowBuilder rows_;
  std::unordered_map<Shape, Known, ShapeHash> shapes_;
  std::unordered_map<std::string, size_t> by_text_;
  std::vector<Merged> merged_;
  Group running_;
  std::vector<uint64_t> running_waits_;
};

bool GroupBuilder::is_outside(const ReportTask& task) const {
  return std::any_of(task.leaves.begin(), task.leaves.end(), [&](const ReportLeaf& leaf) {
    return leaf.shown && leaf.stack && asynctrace::is_outside(report_.stacks[*leaf.stack].kind.leaf_class);
  });
}

GroupBuilder::Known& GroupBuilder::look_up(const Shape& shape) {
  const auto [entry, is_new] = shapes_.try_emplace(shape);
  if (!is_new) return entry->second;
  RowBuilder::Drawn drawn =
      shape.keys.empty()
          ? rows_.draw_unknown(
                shape.type, shape.torn ? "leaf unknown (it kept changing while it was read)" : "leaf unknown")
          : rows_.draw(shape.keys);
  drawn.text += static_cast<char>('0' + static_cast<int>(shape.place));
  const auto [same, is_new_text] = by_text_.try_emplace(std::move(drawn.text), merged_.size());
  if (is_new_text) {
    Merged merged;
    merged.place = shape.place;
    merged.group.group_class = shape.place == Place::kOutside ? GroupClass::kOutside : GroupClass::kInside;
    merged.group.rows = std::move(drawn.rows);
    merged.group.leaf_rows = static_cast<size_t>(std::count_if(
        merged.group.rows.begin(), merged.group.rows.end(), [](const Row& row) { return row.is_leaf; }));
    merged.row_waits.resize(merged.group.rows.size());
    merged_.push_back(std::move(merged));
  }
  Group& group = merged_[same->second].group;
  for (const LeafKey& key : shape.keys) {
    if (key.stack && std::find(group.stacks.begin(), group.stacks.end(), *key.stack) == group.stacks.end()) {
      group.stacks.push_back(*key.stack);
    }
  }
  entry->second = {same->second, std::move(drawn.row_of)};
  return entry->second;
}

void GroupBuilder::add_to(const ReportTask& task, const Shape& shape) {
  const Known& known = look_up(shape);
  Merged& merged = merged_[known.merged];
  merged.group.tasks.push_back(task.task->id);
  uint64_t longest = 0;
  for (const ReportLeaf& leaf : task.leaves) {
    if (!leaf.shown) continue;
    longest = std::max(longest, leaf.source->waiting_ns);
    const bool has_times = merged.group.leaf_rows >= 2 && !task.task->from_census;
    const bool has_resource = task.task->watcher || report_.snapshot->due_in_ns.contains(task.task->id);
    if (!has_times && !has_resource) continue;
    const auto key = std::lower_bound(shape.keys.begin(), shape.keys.end(), leaf_key(task, leaf, report_));
    const uint32_t row = known.row_of[static_cast<size_t>(key - shape.keys.begin())];
    if (has_times) merged.row_waits[row].push_back(leaf.source->waiting_ns);
    if (has_resource) add_resource(task, merged.group.rows[row].resources);
  }
  if (!task.task->from_census) merged.waits.push_back(shape.keys.empty() ? task.task->in_state_ns : longest);
}

void GroupBuilder::add_resource(const ReportTask& task, std::vector<std::string>& resources) const {
  if (resources.size() > kNamedResources) return;
  std::string resource = resource_phrase(*task.task, *report_.snapshot);
  if (!resource.empty() && std::ranges::find(resources, resource) == resources.end())
    resources.push_back(std::move(resource));
}

// A task known by its wakers alone, which holds others that are listed on their own.
bool is_way_to_others(const ReportTask& task) {
  return task.task->kind == TaskKind::kWaker &&
         std::none_of(task.leaves.begin(), task.leaves.end(),
                      [](const ReportLeaf& leaf) { return leaf.shown; });
}

void GroupBuilder::add(const ReportTask& task) {
  if (task.kind == ReportTaskKind::kWorker || is_way_to_others(task)) return;
  TaskCounts& counts = report_.counts;
  ++counts.total;

  Shape shape;
  for (const ReportLeaf& leaf : task.leaves) {
    if (leaf.shown) shape.keys.push_back(leaf_key(task, leaf, report_));
  }
  std::sort(shape.keys.begin(), shape.keys.end());
  const bool is_running = task.task->state == TaskState::kRunning;
  // Woken and not polled yet, with no waker left: it waits for a thread, and for nothing else.
  const bool is_ready = task.task->state == TaskState::kScheduled && shape.keys.empty();
  if (is_running || is_ready) {
    ++(is_running ? counts.running : counts.scheduled);
    running_.tasks.push_back(task.task->id);
    if (!task.task->from_census) running_waits_.push_back(task.task->in_state_ns);
    return;
  }
  for (const ReportLeaf& leaf : task.leaves) {
    report_.folded_leaves += !leaf.shown && leaf.confirmed;
  }
  const bool outside = is_outside(task);
  ++(outside ? counts.outside : counts.inside);
  shape.place = outside ? Place::kOutside : Place::kInside;
  if (const auto suspect = suspects_.kind_of(task.task->id)) {
    if (suspect == SuspectKind::kDeadlock) return;  // drawn with its circle
    shape.place = suspect == SuspectKind::kNoWaker          ? Place::kNoWaker
                  : suspect == SuspectKind::kReadyNotServed ? Place::kReadyNotServed
                                                            : Place::kWaitsOnSuspect;
  }
  if (shape.keys.empty()) {
    shape.type = task.type;
    shape.torn = task.task->torn;
  }
  add_to(task, shape);
}

void GroupBuilder::finish() {
  for (Merged& merged : merged_) {
    Group& group = merged.group;
    group.waiting = spread(merged.waits);
    for (size_t i = 0; i < group.rows.size(); ++i) group.rows[i].waiting = spread(merged.row_waits[i]);
    std::sort(group.stacks.begin(), group.stacks.end());
  }
  std::sort(merged_.begin(), merged_.end(), [](const Merged& a, const Merged& b) {
    // Oldest first; outside, where thousands wait for clients, most tasks first.
    const auto rank = [](const Merged& merged) {
      const bool outside = merged.place == Place::kOutside;
      return std::tuple(merged.place, outside ? merged.group.tasks.size() : 0, merged.group.waiting.max_ns);
    };
    const auto [place_a, count_a, age_a] = rank(a);
    const auto [place_b, count_b, age_b] = rank(b);
    return std::tuple(place_a, count_b, age_b, a.group.tasks.front()) <
           std::tuple(place_b, count_a, age_a, b.group.tasks.front());
  });
  std::vector<Group> suspects;
  for (Merged& merged : merged_) {
    const bool is_suspect = merged.place != Place::kInside && merged.place != Place::kOutside;
    (is_suspect ? suspects : report_.groups).push_back(std::move(merged.group));
  }
  suspects_.add_suspects(std::move(suspects), rows_, report_);
  if (running_.tasks.empty()) return;
  running_.group_class = GroupClass::kRunning;
  running_.waiting = spread(running_waits_);
  report_.groups.push_back(std::move(running_));
}

}  // namespace

void build_groups(Report& report, const ReportOptions& options, std::vector<BlockedThread> blocked) {
  const SuspectFinder suspects(report, std::move(blocked));
  GroupBuilder builder(report, options, suspects);
  for (const ReportTask& task : report.tasks) builder.add(task);
  builder.finish();
}

}  // namespace asynctrace
