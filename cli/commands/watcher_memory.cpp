#include "cli/commands/watcher_memory.hpp"

#include <algorithm>
#include <utility>

namespace asynctrace {
namespace {

using segment::WatcherCheck;

// glib/gmain.h, part of its binary interface.
constexpr uint64_t kSourceType = 16, kSourceFlags = 44, kSourceId = 48;
constexpr uint64_t kIsActive = 1;

void change(Task& task, const Watcher& changed) {
  task.watcher = std::make_unique<const Watcher>(changed);
}

// ev.h, the same: an int at its beginning.
std::optional<bool> is_started(const Memory& memory, const Task& task) {
  const auto active = memory.number(task.address, 4);
  return active ? std::optional(*active != 0) : std::nullopt;
}

void look_at_callback(const Memory& memory, Task& task, Snapshot& snapshot) {
  const auto callback = memory.number(task.address + task.watcher->check_number);
  const bool is_ours = callback && *callback >= snapshot.agent.start && *callback < snapshot.agent.end;
  if (!callback || *callback == 0 || is_ours) return;
  Watcher changed = *task.watcher;
  changed.doubt = WatcherDoubt::kCallsUnseen;
  changed.callback = static_cast<uint32_t>(snapshot.stacks.size());
  snapshot.stacks.push_back({{*callback + 1}, false, false, false});
  change(task, changed);
}

// Nothing: it cannot be read.
std::optional<bool> is_attached(const Memory& memory, const Task& task) {
  const auto type = memory.number(task.address + kSourceType);
  const auto flags = memory.number(task.address + kSourceFlags, 4);
  const auto id = memory.number(task.address + kSourceId, 4);
  if (!type || !flags || !id) return std::nullopt;
  const bool is_it = *type == task.watcher->check_type &&
                     (task.watcher->check_number == 0 || *id == task.watcher->check_number);
  return is_it && (*flags & kIsActive) != 0;
}

}  // namespace

void look_at_watchers(const Memory& memory, Snapshot& snapshot) {
  std::erase_if(snapshot.tasks, [&](Task& task) {
    if (!task.watcher || task.leaves.empty()) return false;
    if (task.watcher->check == WatcherCheck::kCallback) {
      look_at_callback(memory, task, snapshot);
      return task.watcher->doubt == WatcherDoubt::kCallsUnseen && !is_started(memory, task).value_or(true);
    }
    if (task.watcher->check != WatcherCheck::kSource) return false;
    const auto attached = is_attached(memory, task);
    if (!attached.value_or(false)) return attached.has_value();
    Watcher certain = *task.watcher;
    certain.doubt = WatcherDoubt::kNone;
    change(task, certain);
    return false;
  });
}

}  // namespace asynctrace
