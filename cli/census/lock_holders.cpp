#include "cli/census/lock_holders.hpp"

#include <algorithm>
#include <iterator>

#include "cli/census/future_walker.hpp"
#include "cli/census/locks.hpp"
#include "cli/tree/names.hpp"

namespace asynctrace {
namespace {

constexpr std::string_view kLockLeaves[] = {"Mutex lock", "RwLock read", "RwLock write", "Semaphore acquire",
                                            "OnceCell"};

constexpr char kNotFound[] = "holder unknown: the lock has not been found";
constexpr char kSeveralLocks[] = "holder unknown: the task waits for several locks at once";
constexpr char kRunning[] = "holder unsure: a task that is running may hold it";
constexpr char kBlockOn[] = "holder unsure: the future of a block_on may hold it";
constexpr char kNotFollowed[] = "holder unsure: a task that could not be followed may hold it";
constexpr char kMoved[] = "holder unsure: it changed while it was read";

// One look at all tasks.
class Look {
 public:
  Look(const Report& report, DwarfTypes& types, const Memory& memory, const BlockOns* block_ons)
      : types_(types), walker_(types, memory), block_ons_(block_ons) {
    walker_.collect(guard_types());
    for (const ReportTask& task : report.tasks) add(task, report, memory);
    if (block_ons == nullptr) return;
    for (const BlockOn& block_on : block_ons->found) add(block_on, memory);
    if (block_ons->unsure != nullptr) hidden_ = block_ons->unsure;
  }

  LockTable::Answer holder(uint64_t task) const {
    std::vector<LockWait> waits;
    std::ranges::copy_if(table_.waits(), std::back_inserter(waits),
                         [&](const LockWait& wait) { return wait.task == task; });
    if (!knows_a_type_) return {{}, kNeedsDebugInfo};
    if (waits.empty()) return {{}, hidden_ == kRunning ? kMoved : kNotFound};
    if (waits.size() > 1) return {{}, kSeveralLocks};
    const LockTable::Answer answer = table_.holder(waits.front());
    return answer.task && hidden_ != nullptr ? LockTable::Answer{{}, hidden_} : answer;
  }

 private:
  void add(const ReportTask& task, const Report& report, const Memory& memory) {
    if (task.kind == ReportTaskKind::kWorker) return;
    if (task.kind == ReportTaskKind::kBlockOn) {
      if (block_ons_ != nullptr) return;
      if (task.task->state == TaskState::kRunning) hidden_ = kRunning;
      if (may_hold(task, report)) hidden_ = kBlockOn;
      return;
    }
    const bool is_tokio = task.task->runtime == RuntimeId::kTokio;
    const TaskShape shape = is_tokio ? types_.task_shape(task.task->poll_function) : TaskShape();
    knows_a_type_ |= shape.is_known();
    if (is_running(shape.cell, task.task->address, memory)) {
      hidden_ = kRunning;
      return;
    }
    const std::vector<FutureNode> nodes = walker_.walk_task(shape, task.task->address);
    if (walker_.incomplete()) hidden_ = kNotFollowed;
    table_.add_task(task.task->id, nodes, walker_, types_, memory);
  }

  void add(const BlockOn& block_on, const Memory& memory) {
    if (block_on.is_running) {
      hidden_ = kRunning;
      return;
    }
    const std::vector<FutureNode> nodes = walker_.walk(block_on.future.type, block_on.future.address);
    if (walker_.incomplete()) hidden_ = kNotFollowed;
    table_.add_task(block_on.task, nodes, walker_, types_, memory);
  }

  // By tokio's own word, which may have changed since the snapshot: the lowest bit says that it is being
  // polled.
  bool is_running(TypeId cell, uint64_t address, const Memory& memory) {
    const Member* header = walker_.member(cell, "header");
    const Member* state = header == nullptr ? nullptr : walker_.member(header->type, "state");
    if (state == nullptr) return false;
    return (memory.number(address + header->offset + state->offset).value_or(0) & 1) != 0;
  }

  // Where the future of a block_on lies is not known, but its type tells what it can keep at its awaits.
  bool may_hold(const ReportTask& task, const Report& report) {
    bool knows_body = false;
    for (const ReportLeaf& leaf : task.leaves) {
      if (!leaf.stack) return true;
      for (const uint32_t index : report.stacks[*leaf.stack].frames) {
        const Frame& frame = report.symbols->frames()[report.frames[index].source];
        if (!is_async_body(frame.debug_name)) continue;
        const TypeId body = types_.environment_of(frame.raw);
        if (body == kNoType || walker_.may_keep_at(body, frame.line)) return true;
        knows_body = true;
      }
    }
    return !knows_body;
  }

  DwarfTypes& types_;
  FutureWalker walker_;
  const BlockOns* block_ons_;
  LockTable table_;
  bool knows_a_type_ = false;
  const char* hidden_ = nullptr;  // why a guard may have been overlooked
};

void add_answer(const LockLeaf& locked, const LockTable::Answer& answer, Snapshot& snapshot) {
  const auto task = std::ranges::find(snapshot.tasks, locked.task, &Task::id);
  for (Leaf& leaf : task->leaves) {
    if (!leaf.stack || std::ranges::find(locked.stacks, *leaf.stack) == locked.stacks.end()) continue;
    leaf.waits_for_task = answer.task;
    leaf.holder_unknown = answer.reason;
  }
}

}  // namespace

std::vector<LockLeaf> lock_leaves(const Report& report) {
  std::vector<LockLeaf> found;
  for (const ReportTask& task : report.tasks) {
    LockLeaf leaf{task.task->id, {}};
    for (const ReportLeaf& place : task.leaves) {
      if (!place.shown || !place.stack) continue;
      const ReportStack& stack = report.stacks[*place.stack];
      if (std::ranges::find(kLockLeaves, stack.kind.text) == std::end(kLockLeaves)) continue;
      leaf.stacks.push_back(stack.source);
    }
    if (!leaf.stacks.empty() && task.task->runtime == RuntimeId::kTokio) found.push_back(std::move(leaf));
  }
  return found;
}

void add_holders(const std::vector<LockLeaf>& leaves, const Report& report, DwarfTypes& types,
                 const Memory& memory, const BlockOns* block_ons, Snapshot& snapshot) {
  const Look first(report, types, memory, block_ons);
  const Look second(report, types, memory, block_ons);
  for (const LockLeaf& leaf : leaves) {
    const LockTable::Answer answer = first.holder(leaf.task);
    const bool same = answer == second.holder(leaf.task);
    add_answer(leaf, same ? answer : LockTable::Answer{{}, kMoved}, snapshot);
  }
}

void add_unknown_holders(const std::vector<LockLeaf>& leaves, const char* reason, Snapshot& snapshot) {
  for (const LockLeaf& leaf : leaves) add_answer(leaf, {{}, reason}, snapshot);
}

}  // namespace asynctrace
