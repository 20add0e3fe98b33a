#include "cli/task_reader.hpp"

#include <algorithm>
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

  RawTasks read() {
    for (uint32_t slot = 0; slot < reader_.used(segment::kTasks); slot++) {
      if (const auto task = reader_.task(slot)) tasks().push_back({*task, slot});
    }
    std::sort(tasks().begin(), tasks().end(), [](const RawTask& a, const RawTask& b) {
      return std::pair(a.task.id, a.slot) < std::pair(b.task.id, b.slot);
    });
    while (read_leaves() && round_ < kRounds) {
    }
    std::erase_if(tasks(), [](const RawTask& raw) { return raw.ended; });
    return std::move(result_);
  }

 private:
  std::deque<RawTask>& tasks() { return result_.tasks; }

  RawTask* find(uint64_t id) {
    const auto found =
        std::lower_bound(tasks().begin(), tasks().end(), id,
                         [](const RawTask& raw, uint64_t wanted) { return raw.task.id < wanted; });
    return found != tasks().end() && found->task.id == id ? &*found : nullptr;
  }

  // True: some task changed meanwhile and wants another look. A later look is quick, so that it can fall
  // between two changes of a task that changes every millisecond.
  bool read_leaves() {
    for (uint32_t index = 0; index < reader_.used(segment::kLeaves); index++) {
      if (round_ != 0 && !unsettled_.contains(reader_.peek_leaf_task(index))) continue;
      const auto leaf = reader_.leaf(index);
      RawTask* raw = leaf ? find(leaf->task) : nullptr;
      if (raw != nullptr && !raw->settled) add(*raw, *leaf);
    }
    const bool last = ++round_ == kRounds;
    const auto looked_at = std::exchange(unsettled_, {});
    if (round_ == 1) {
      for (RawTask& raw : tasks()) settle(raw, last);
    } else {
      for (const uint64_t id : looked_at) settle(*find(id), last);
    }
    return !unsettled_.empty();
  }

  void add(RawTask& raw, const segment::Leaf& leaf) {
    const auto index = static_cast<uint32_t>(result_.leaves.size());
    result_.leaves.push_back({leaf});
    (raw.first_leaf == kNoLeaf ? raw.first_leaf : result_.leaves[raw.last_leaf].next) = index;
    raw.last_leaf = index;
  }

  void settle(RawTask& raw, bool last) {
    const auto now = reader_.task(raw.slot);
    if (!now || now->id != raw.task.id) {
      raw.ended = true;
      return;
    }
    raw.settled = same_moment(raw.task, *now);
    raw.task = *now;
    if (raw.settled) return;
    unsettled_.insert(raw.task.id);
    if (!last) raw.first_leaf = raw.last_leaf = kNoLeaf;
  }

  const SegmentReader& reader_;
  RawTasks result_;
  std::unordered_set<uint64_t> unsettled_;  // ids
  int round_ = 0;
};

}  // namespace

RawTasks read_tasks(const SegmentReader& reader) {
  return TaskReader(reader).read();
}

}  // namespace asynctrace
