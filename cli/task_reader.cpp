#include "cli/task_reader.hpp"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace asynctrace {
namespace {

constexpr int kRounds = 32;

bool same_moment(const segment::Task& a, const segment::Task& b) {
  return a.id == b.id && a.state == b.state && a.polls == b.polls;
}

class TaskReader {
 public:
  explicit TaskReader(const SegmentReader& reader) : reader_(reader) {}

  std::vector<RawTask> read() {
    for (uint32_t slot = 0; slot < reader_.used(segment::kTasks); slot++) add(slot);
    while (read_leaves() && round_ < kRounds) {
    }
    std::erase_if(tasks_, [](const RawTask& raw) { return raw.task.id == 0; });
    std::sort(tasks_.begin(), tasks_.end(),
              [](const RawTask& a, const RawTask& b) { return a.task.id < b.task.id; });
    return std::move(tasks_);
  }

 private:
  void add(uint32_t slot) {
    const auto task = reader_.task(slot);
    if (!task) return;
    by_id_.emplace(task->id, tasks_.size());
    tasks_.push_back({*task, {}, false});
    slots_.push_back(slot);
  }

  // True: some task changed meanwhile and wants another look. A later look is quick, so that it can fall
  // between two changes of a task that changes every millisecond.
  bool read_leaves() {
    for (uint32_t index = 0; index < reader_.used(segment::kLeaves); index++) {
      if (round_ != 0 && !unsettled_.contains(reader_.peek_leaf_task(index))) continue;
      const auto leaf = reader_.leaf(index);
      const auto found = leaf ? by_id_.find(leaf->task) : by_id_.end();
      if (found != by_id_.end() && !tasks_[found->second].settled)
        tasks_[found->second].leaves.push_back(*leaf);
    }
    const bool last = ++round_ == kRounds;
    const auto looked_at = std::exchange(unsettled_, {});
    if (round_ == 1) {
      for (size_t i = 0; i < tasks_.size(); i++) settle(i, last);
    } else {
      for (const uint64_t id : looked_at) settle(by_id_.at(id), last);
    }
    return !unsettled_.empty();
  }

  void settle(size_t index, bool last) {
    RawTask& raw = tasks_[index];
    const auto now = reader_.task(slots_[index]);
    if (!now || now->id != raw.task.id) {
      raw.task.id = 0;  // it ended while it was read
      return;
    }
    raw.settled = same_moment(raw.task, *now);
    raw.task = *now;
    if (raw.settled) return;
    unsettled_.insert(raw.task.id);
    if (!last) raw.leaves.clear();
  }

  const SegmentReader& reader_;
  std::vector<RawTask> tasks_;
  std::vector<uint32_t> slots_;
  std::unordered_map<uint64_t, size_t> by_id_;
  std::unordered_set<uint64_t> unsettled_;  // ids
  int round_ = 0;
};

}  // namespace

std::vector<RawTask> read_tasks(const SegmentReader& reader) {
  return TaskReader(reader).read();
}

}  // namespace asynctrace
