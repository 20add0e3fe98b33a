#include "cli/coroutines/asio_tracked.hpp"

#include <algorithm>
#include <map>

#include "cli/coroutines/asio_completions.hpp"

namespace asynctrace {
namespace {

// No code lies there; others of these addresses are the censuses'.
constexpr uint64_t kNowhere = uint64_t{7} << 61;
constexpr uint64_t kMaxOperation = 512;

struct Named {
  std::optional<uint32_t> label;     // index into Snapshot::labels; nothing: as the agent was told
  std::optional<uint32_t> callback;  // as of set_callback()
};

Named name_function(uint32_t callback, Snapshot& snapshot, Symbolizer& symbols) {
  Frame frame = symbols.frames()[symbols.resolve_function(snapshot.stacks[callback].pcs.front() - 1)];
  auto completion = asio_completion(frame.function);
  if (!completion) return {{}, callback};
  Named named{static_cast<uint32_t>(snapshot.labels.size()), {}};
  snapshot.labels.push_back(std::move(completion->waits_for));
  if (completion->resumes_coroutine) return named;
  named.callback = static_cast<uint32_t>(snapshot.stacks.size());
  frame.function = std::move(completion->handler);
  frame.raw.clear();
  frame.debug_name.clear();
  const uint64_t address = kNowhere + snapshot.stacks.size();
  symbols.define(address, {std::move(frame)});
  snapshot.stacks.push_back({{address}});
  return named;
}

}  // namespace

void set_callback(Task& task, std::optional<uint32_t> stack) {
  Watcher watcher = *task.watcher;
  watcher.callback = stack;
  task.watcher = std::make_unique<const Watcher>(std::move(watcher));
}

bool resumes_one_of(const Memory& memory, uint64_t address, const std::vector<uint64_t>& promises) {
  for (uint64_t at = 0; at < kMaxOperation; at += sizeof(uint64_t)) {
    const auto word = memory.number(address + at);
    if (!word) return false;
    if (std::ranges::binary_search(promises, *word)) return true;
  }
  return false;
}

void name_tracked_operations(Snapshot& snapshot, Symbolizer& symbols) {
  std::map<uint32_t, Named> functions;  // by Watcher::callback
  for (Task& task : snapshot.tasks) {
    if (!is_tracked_operation(task)) continue;
    task.runtime = RuntimeId::kAsio;
    if (!task.watcher->callback) continue;
    const uint32_t callback = *task.watcher->callback;
    const auto [entry, is_new] = functions.try_emplace(callback);
    if (is_new) entry->second = name_function(callback, snapshot, symbols);
    const Named& named = entry->second;
    if (named.callback != callback) set_callback(task, named.callback);
    if (named.label)
      for (Leaf& leaf : task.leaves) leaf.label = named.label;
  }
}

}  // namespace asynctrace
