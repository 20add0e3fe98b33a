#include "agent/rust/tables.hpp"

#include <string.h>

#include <span>

#include "agent/capture/cfi.hpp"
#include "agent/live.hpp"
#include "agent/modules.hpp"
#include "agent/patch.hpp"
#include "agent/platform.hpp"
#include "agent/rust/symbol_index.hpp"
#include "agent/rust/symbol_names.hpp"

namespace asynctrace::agent {

Tables g_tables;

namespace {

using segment::RuntimeId;

constexpr uint32_t kMaxPending = 1u << 16;

struct Pending {
  void** slot;
  void* thunk;
};
Pending* g_pending = nullptr;
uint32_t g_pending_count = 0;

uint32_t limit(ThunkArray array) {
  return kThunkCounts[static_cast<size_t>(array)];
}

void plan_patch(uint64_t* slot, ThunkArray array, uint32_t number) {
  if (g_pending_count < kMaxPending)
    g_pending[g_pending_count++] = {reinterpret_cast<void**>(slot), thunk(array, number)};
}

// One row per distinct original function; `same` says whether a row already holds it.
template <typename Row, typename Same, typename Fill>
uint32_t row_for(Row* rows, uint32_t& count, ThunkArray array, Same same, Fill fill) {
  for (uint32_t i = 0; i < count; i++)
    if (same(rows[i])) return i;
  if (count == limit(array)) return kNone;
  fill(rows[count]);
  return count++;
}

class Finder {
 public:
  Finder() : symbols_(main_module().bias) {}

  bool run() {
    // Wakers alone do not tell tasks apart, so without a task's poll function there is nothing to look for.
    if (symbols_.empty()) return false;
    for (const Elf64_Phdr& header : segments(false)) find_in(header, &Finder::look_for_tables);
    // Copies of a known table whose clone function names another copy.
    for (const Elf64_Phdr& header : segments(false)) find_in(header, &Finder::look_for_copies);
    link_poll_functions();
    return g_tables.poll_count != 0;
  }

 private:
  struct Segments {
    const Elf64_Phdr* at;
    const Elf64_Phdr* last;
    bool executable;
    bool fits() const {
      return at->p_type == PT_LOAD && ((at->p_flags & PF_X) != 0) == executable && (at->p_flags & PF_R) != 0;
    }
    Segments& begin() { return skip(), *this; }
    const Elf64_Phdr* end() const { return last; }
    const Elf64_Phdr& operator*() const { return *at; }
    Segments& operator++() { return at++, skip(), *this; }
    bool operator!=(const Elf64_Phdr* other) const { return at != other; }
    void skip() {
      while (at != last && !fits()) at++;
    }
  };

  static Segments segments(bool executable) {
    const LoadedModule& module = main_module();
    return {module.headers, module.headers + module.header_count, executable};
  }

  static bool is_code(uint64_t address) {
    for (const Elf64_Phdr& header : segments(true))
      if (address - main_module().bias - header.p_vaddr < header.p_filesz) return true;
    return false;
  }

  static bool is_data(uint64_t address, uint64_t size) {
    for (const Elf64_Phdr& header : segments(false)) {
      const uint64_t offset = address - main_module().bias - header.p_vaddr;
      if (offset < header.p_filesz && size <= header.p_filesz - offset) return true;
    }
    return false;
  }

  void find_in(const Elf64_Phdr& header, void (Finder::*look)(uint64_t*, size_t)) {
    const uint64_t start = round_up(main_module().bias + header.p_vaddr, 8);
    const uint64_t end = main_module().bias + header.p_vaddr + header.p_filesz;
    if (end < start + 8) return;
    auto* words = reinterpret_cast<uint64_t*>(start);
    const size_t count = (end - start) / 8;
    for (size_t i = 0; i < count; i++)
      if (is_code(words[i])) (this->*look)(words + i, count - i);
  }

  void look_for_tables(uint64_t* words, size_t available) {
    if ((symbols_.roles_at(words[0]) & kPollRole) != 0) add_task_table(words, available);
    if (available < 4 || !is_code(words[1]) || !is_code(words[2]) || !is_code(words[3])) return;
    if (is_waker_table_by_name(words) || refers_to(words[0], reinterpret_cast<uint64_t>(words)))
      add_waker_table(words);
  }

  void look_for_copies(uint64_t* words, size_t available) {
    if (available < 4) return;
    for (uint32_t i = 0; i < g_tables.waker_count; i++) {
      const WakerTable& known = g_tables.wakers[i];
      if (known.address == reinterpret_cast<uint64_t>(words)) return;
      if (memcmp(words, &known.original, sizeof(WakerVtable)) == 0) return add_waker_table(words);
    }
  }

  bool is_waker_table_by_name(const uint64_t* words) const {
    return (symbols_.roles_at(words[0]) & kCloneRole) != 0 &&
           (symbols_.roles_at(words[1]) & kWakeRole) != 0 && (symbols_.roles_at(words[2]) & kWakeRole) != 0 &&
           (symbols_.roles_at(words[3]) & kDropRole) != 0;
  }

  // Whether a function's code takes the address `table`, directly or through a slot that holds it: a clone
  // returns the table that it stands in. x86-64: lea or mov with a 64-bit operand relative to rip.
  static bool refers_to(uint64_t function, uint64_t table) {
    constexpr uint64_t kLongest = 256;
    const auto* code = reinterpret_cast<const unsigned char*>(function);
    for (uint64_t i = 0; i + 7 <= kLongest && is_code(function + i + 6); i++) {
      const bool wide = (code[i] & 0xf8) == 0x48;
      const bool rip_relative = (code[i + 2] & 0xc7) == 0x05;
      if (!wide || !rip_relative || (code[i + 1] != 0x8d && code[i + 1] != 0x8b)) continue;
      int32_t distance;
      memcpy(&distance, code + i + 3, sizeof(distance));
      uint64_t target = function + i + 7 + static_cast<uint64_t>(int64_t{distance});
      if (code[i + 1] == 0x8b) {
        if (!is_data(target, 8)) continue;
        memcpy(&target, reinterpret_cast<const void*>(target), sizeof(target));
      }
      FunctionRange range;
      if (target == table)
        return find_function(main_module(), function, range) && function == range.start &&
               function + i < range.end;
    }
    return false;
  }

  static RuntimeId waker_runtime(uint32_t roles) {
    if ((roles & kTokioWaker) != 0) return RuntimeId::kTokio;
    return (roles & kAsyncTaskWaker) != 0 ? RuntimeId::kAsyncTask : RuntimeId::kUnknown;
  }

  void add_waker_table(uint64_t* words) {
    if (g_tables.waker_count == limit(ThunkArray::kClone)) return;
    WakerTable& table = g_tables.wakers[g_tables.waker_count];
    table.address = reinterpret_cast<uint64_t>(words);
    memcpy(&table.original, words, sizeof(WakerVtable));
    const uint32_t roles = symbols_.roles_at(words[0]);
    table.runtime = waker_runtime(roles);
    if (table.runtime != RuntimeId::kUnknown) table.kind = WakerKind::kTask;
    else table.kind = (roles & kBlockOnWaker) != 0 ? WakerKind::kBlockOn : WakerKind::kOther;
    plan_patch(words, ThunkArray::kClone, g_tables.waker_count++);
  }

  void add_task_table(uint64_t* words, size_t available) {
    const uint32_t poll = add_poll(words, ThunkArray::kPoll, g_tables.polls, g_tables.poll_count);
    constexpr size_t kTaskFunctions = 8;
    for (size_t i = 1; i < kTaskFunctions && i < available && is_code(words[i]); i++) {
      const uint32_t roles = symbols_.roles_at(words[i]);
      if ((roles & kPollRole) != 0) return;  // the next table
      if ((roles & kAsyncTaskWaker) != 0 && poll != kNone) own_clones_[poll] = words[i];
      if ((roles & kShutdownRole) != 0)
        add_poll(words + i, ThunkArray::kShutdown, g_tables.shutdowns, shutdown_count_);
      else if ((roles & kDeallocRole) != 0)
        add(words + i, ThunkArray::kDealloc, g_tables.deallocs, dealloc_count_);
      else if ((roles & kScheduleRole) != 0)
        add(words + i, ThunkArray::kSchedule, g_tables.schedules, schedule_count_);
      else if ((roles & kOutputRole) != 0)
        add(words + i, ThunkArray::kOutput, g_tables.outputs, output_count_);
    }
  }

  uint32_t add_poll(uint64_t* slot, ThunkArray array, PollFunction* rows, uint32_t& count) {
    const auto original = reinterpret_cast<Words (*)(void*)>(*slot);
    const uint32_t number = row_for(
        rows, count, array, [&](const PollFunction& row) { return row.original == original; },
        [&](PollFunction& row) {
          row.original = original;
          row.waker_table.store(kNoTable, std::memory_order_relaxed);
        });
    if (number != kNone) plan_patch(slot, array, number);
    return number;
  }

  template <typename F>
  void add(uint64_t* slot, ThunkArray array, F* rows, uint32_t& count) {
    const auto original = reinterpret_cast<F>(*slot);
    const uint32_t number = row_for(
        rows, count, array, [&](F row) { return row == original; }, [&](F& row) { row = original; });
    if (number != kNone) plan_patch(slot, array, number);
  }

  // Which waker table a poll function's tasks use. async-task has one for each type of task, and the task
  // table names its clone function. tokio has one: with several (two versions in one program) each poll
  // function learns its own from the first waker that is cloned under it.
  void link_poll_functions() {
    const uint16_t tokio = only_waker_table(RuntimeId::kTokio);
    for (uint32_t i = 0; i < g_tables.poll_count; i++) {
      PollFunction& poll = g_tables.polls[i];
      poll.runtime = own_clones_[i] != 0 ? RuntimeId::kAsyncTask : RuntimeId::kTokio;
      poll.waker_table = own_clones_[i] != 0 ? waker_table_of(own_clones_[i]) : tokio;
    }
    for (uint32_t i = 0; i < shutdown_count_; i++) {
      g_tables.shutdowns[i].runtime = RuntimeId::kTokio;
      g_tables.shutdowns[i].waker_table = tokio;
    }
  }

  static uint16_t only_waker_table(RuntimeId runtime) {
    uint16_t only = kNoTable;
    for (uint32_t i = 0; i < g_tables.waker_count; i++) {
      if (g_tables.wakers[i].runtime != runtime) continue;
      if (only != kNoTable) return kNoTable;
      only = static_cast<uint16_t>(i);
    }
    return only;
  }

  static uint16_t waker_table_of(uint64_t clone) {
    for (uint32_t i = 0; i < g_tables.waker_count; i++)
      if (reinterpret_cast<uint64_t>(g_tables.wakers[i].original.clone) == clone)
        return static_cast<uint16_t>(i);
    return kNoTable;
  }

  SymbolIndex symbols_;
  uint64_t own_clones_[kThunkCounts[static_cast<size_t>(ThunkArray::kPoll)]] = {};  // by poll number, 0: none
  uint32_t shutdown_count_ = 0;
  uint32_t dealloc_count_ = 0;
  uint32_t schedule_count_ = 0;
  uint32_t output_count_ = 0;
};

}  // namespace

bool find_tables() {
  g_pending = reserve_array<Pending>(kMaxPending);
  g_tables.wakers = reserve_array<WakerTable>(limit(ThunkArray::kClone));
  g_tables.polls = reserve_array<PollFunction>(limit(ThunkArray::kPoll));
  g_tables.shutdowns = reserve_array<PollFunction>(limit(ThunkArray::kShutdown));
  g_tables.deallocs = reserve_array<HeaderFunction>(limit(ThunkArray::kDealloc));
  g_tables.schedules = reserve_array<HeaderFunction>(limit(ThunkArray::kSchedule));
  g_tables.outputs = reserve_array<OutputFunction>(limit(ThunkArray::kOutput));
  if (g_pending == nullptr || g_tables.wakers == nullptr || g_tables.polls == nullptr ||
      g_tables.shutdowns == nullptr || g_tables.deallocs == nullptr || g_tables.schedules == nullptr ||
      g_tables.outputs == nullptr)
    return false;
  return Finder().run();
}

void patch_tables() {
  SlotPatcher patcher;
  for (const Pending& patch : std::span(g_pending, g_pending_count)) patcher.write(patch.slot, patch.thunk);
}

void publish_pollers() {
  for (uint32_t i = 0; i < g_tables.poll_count; i++) {
    const uint32_t index = g_segment.take(segment::kPollers, 1);
    if (index == kNone) return;
    segment::Poller& poller = g_segment.items<segment::Poller>(segment::kPollers)[index];
    poller.address = reinterpret_cast<uint64_t>(g_tables.polls[i].original);
    poller.runtime = g_tables.polls[i].runtime;
  }
}

}  // namespace asynctrace::agent
