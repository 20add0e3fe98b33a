#include "cli/census/core_threads.hpp"

#include <algorithm>
#include <unordered_map>

#include "cli/symbols/elf_pointers.hpp"

namespace asynctrace {
namespace {

constexpr uint64_t kMaxStackPart = 1 << 20;

class ThreadReader {
 public:
  ThreadReader(const CoreImage& core, Snapshot& snapshot, Symbolizer& symbols)
      : memory_(*core.process.memory), snapshot_(snapshot), symbols_(symbols) {
    for (const Task& task : snapshot.tasks) {
      if (task.state != TaskState::kRunning) continue;
      running_.emplace(task.poll_function, &task);
      const auto module = module_at(task.poll_function, snapshot);
      const ElfFile* file = module ? files_of(*module).file.get() : nullptr;
      if (file == nullptr) continue;
      const uint64_t bias = snapshot.modules[*module].bias;
      if (const auto target = jump_target(*file, task.poll_function - bias))
        running_.emplace(*target + bias, &task);
    }
  }

  void add(const NativeThread& from) {
    Thread thread;
    thread.tid = static_cast<uint32_t>(from.tid);
    if (from.pcs.empty()) {
      thread.no_native_stack = "its stack could not be walked";
    } else {
      thread.native_stack = add_stack(from.pcs);
      find_tasks(from, thread);
    }
    snapshot_.threads.push_back(std::move(thread));
  }

 private:
  uint32_t add_stack(std::vector<uint64_t> pcs) {
    snapshot_.stacks.push_back({std::move(pcs), false, false, false});
    return static_cast<uint32_t>(snapshot_.stacks.size() - 1);
  }

  void find_tasks(const NativeThread& from, Thread& thread) {
    bool is_innermost = true;
    for (size_t i = 0; i < from.pcs.size(); ++i) {
      const auto function = entry_of(from.pcs[i] - 1);
      if (!function || !running_.contains(*function)) continue;
      const Task* task = find_task(*function, from, i);
      if (std::exchange(is_innermost, false)) {
        if (task != nullptr) thread.task = task->id;
        const bool is_task = task == nullptr || !task->is_blocking;
        thread.state = is_task ? ThreadState::kPolling : ThreadState::kOther;
        const auto end = from.pcs.begin() + static_cast<ptrdiff_t>(i);
        if (i > 0) thread.poll_stack = add_stack({from.pcs.begin(), end});
      }
      if (task != nullptr) thread.outer_task = task->id;
    }
  }

  const ModuleFiles& files_of(uint32_t module) {
    const auto [entry, is_new] = files_.try_emplace(module);
    if (is_new) entry->second = symbols_.find_files(module);
    return entry->second;
  }

  // Where the function that covers this address begins.
  std::optional<uint64_t> entry_of(uint64_t address) {
    const auto module = module_at(address, snapshot_);
    if (!module) return std::nullopt;
    const ModuleFiles& files = files_of(*module);
    if (!files.file) return std::nullopt;
    const uint64_t bias = snapshot_.modules[*module].bias;
    const auto symbol = files.names().symbol_at(address - bias);
    return symbol ? std::optional(symbol->address + bias) : std::nullopt;
  }

  // Of several running tasks of one type the one whose header the poll, or what it called, has on the stack.
  const Task* find_task(uint64_t function, const NativeThread& from, size_t frame) {
    const auto [begin, end] = running_.equal_range(function);
    if (std::next(begin) == end) return begin->second;
    const auto stack_pointer = [&](size_t at) {
      return at < from.registers.size() ? from.registers[at][kStackPointer].value_or(0) : 0;
    };
    const uint64_t low = stack_pointer(0), high = stack_pointer(frame + 1);
    if (low == 0 || high <= low || high - low > kMaxStackPart) return nullptr;
    std::vector<uint64_t> words((high - low) / sizeof(uint64_t));
    if (!memory_.read(low, std::as_writable_bytes(std::span(words)))) return nullptr;
    const Task* found = nullptr;
    for (auto task = begin; task != end; ++task) {
      if (std::ranges::find(words, task->second->address) == words.end()) continue;
      if (found != nullptr) return nullptr;
      found = task->second;
    }
    return found;
  }

  const Memory& memory_;
  Snapshot& snapshot_;
  Symbolizer& symbols_;
  std::unordered_multimap<uint64_t, const Task*> running_;  // by poll function
  std::unordered_map<uint32_t, ModuleFiles> files_;
};

Crash crash_of(const CoreImage& core, const Snapshot& snapshot) {
  Crash crash;
  crash.signal = core.signal;
  crash.tid = core.crashed_tid;
  const auto thread = std::ranges::find(snapshot.threads, core.crashed_tid, &Thread::tid);
  if (thread == snapshot.threads.end()) {
    crash.no_stack_reason = "the core file does not tell of its thread";
    return crash;
  }
  crash.task = thread->task;
  crash.stack = thread->poll_stack ? thread->poll_stack : thread->native_stack;
  crash.no_stack_reason = thread->no_native_stack;
  return crash;
}

}  // namespace

void add_core_threads(const CoreImage& core, std::span<const NativeThread> threads, Snapshot& snapshot,
                      Symbolizer& symbols) {
  ThreadReader reader(core, snapshot, symbols);
  for (const NativeThread& thread : threads) reader.add(thread);
  if (core.signal == 0) return;
  snapshot.crash = crash_of(core, snapshot);
}

}  // namespace asynctrace
