#include "agent/rust/tables.hpp"

#include <string.h>

#include <algorithm>
#include <span>

#include "agent/capture/cfi.hpp"
#include "agent/live.hpp"
#include "agent/modules.hpp"
#include "agent/patch.hpp"
#include "agent/platform.hpp"
#include "agent/rust/symbol_index.hpp"
#include "common/rust_symbols.hpp"

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
uint32_t g_published_pollers = 0;

constexpr uint32_t limit(ThunkArray array) {
  return kThunkCounts[static_cast<size_t>(array)];
}

// All in one mapping: each is one more to make and to take down, in every process of a build.
struct Rows {
  Pending pending[kMaxPending];
  WakerTable wakers[limit(ThunkArray::kClone)];
  PollFunction polls[limit(ThunkArray::kPoll)];
  PollFunction shutdowns[limit(ThunkArray::kShutdown)];
  HeaderFunction deallocs[limit(ThunkArray::kDealloc)];
  HeaderFunction schedules[limit(ThunkArray::kSchedule)];
  OutputFunction outputs[limit(ThunkArray::kOutput)];
};

void plan_patch(uint64_t* slot, ThunkArray array, uint32_t number) {
  if (g_pending_count < kMaxPending)
    g_pending[g_pending_count++] = {reinterpret_cast<void**>(slot), thunk(array, number)};
}

bool is_in(const LoadedModule& module, uint64_t address) {
  return address >= module.start && address < module.end;
}

template <typename F>
uint64_t address_of(F function) {
  return reinterpret_cast<uint64_t>(function);
}
uint64_t address_of(const PollFunction& row) {
  return address_of(row.original);
}
uint64_t address_of(const WakerTable& row) {
  return row.address;
}

// The row of `address`, or a free one; kNone: none is left.
template <typename Row>
uint32_t row_for(const Row* rows, uint32_t& count, ThunkArray array, uint64_t address) {
  for (uint32_t i = 0; i < count; i++)
    if (address_of(rows[i]) == address) return i;
  if (count < limit(array)) return count++;
  for (uint32_t i = 0; i < count; i++)
    if (find_module(address_of(rows[i])) == nullptr) return i;
  return kNone;
}

class Finder {
 public:
  Finder(const LoadedModule& module, const SymbolIndex& symbols) : module_(module), symbols_(symbols) {
    for (const Elf64_Phdr& header : segments(true)) {
      code_start_ = std::min(code_start_, module.bias + header.p_vaddr);
      code_end_ = std::max(code_end_, module.bias + header.p_vaddr + header.p_filesz);
    }
  }

  // True: found how a runtime polls its tasks, or at least wakers.
  bool run() {
    for (const Elf64_Phdr& header : segments(false)) find_in(header, &Finder::look_for_tables);
    // Copies of a known table whose clone function names another copy.
    for (const Elf64_Phdr& header : segments(false)) find_in(header, &Finder::look_for_copies);
    return link_poll_functions() || found_wakers_;
  }

  // By structure alone.
  bool has_waker_table() const {
    for (const Elf64_Phdr& header : segments(false))
      if (any_in(header, [this](const uint64_t* words, size_t available) {
            return is_waker_table(words, available) && refers_to(words[0], address_of(words));
          }))
        return true;
    return false;
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

  Segments segments(bool executable) const {
    return {module_.headers, module_.headers + module_.header_count, executable};
  }

  bool is_code(uint64_t address) const { return code_from(address) != 0; }

  // Bytes of code from there on; 0: it is none.
  uint64_t code_from(uint64_t address) const {
    // Most words are not.
    if (address < code_start_ || address >= code_end_) return 0;
    for (const Elf64_Phdr& header : segments(true)) {
      const uint64_t offset = address - module_.bias - header.p_vaddr;
      if (offset < header.p_filesz) return header.p_filesz - offset;
    }
    return 0;
  }

  bool is_data(uint64_t address, uint64_t size) const {
    for (const Elf64_Phdr& header : segments(false)) {
      const uint64_t offset = address - module_.bias - header.p_vaddr;
      if (offset < header.p_filesz && size <= header.p_filesz - offset) return true;
    }
    return false;
  }

  // Looks at each word that points to code until `look` is content.
  template <typename Look>
  bool any_in(const Elf64_Phdr& header, Look look) const {
    const uint64_t start = round_up(module_.bias + header.p_vaddr, 8);
    const uint64_t end = module_.bias + header.p_vaddr + header.p_filesz;
    if (end < start + 8) return false;
    auto* words = reinterpret_cast<uint64_t*>(start);
    const size_t count = (end - start) / 8;
    for (size_t i = 0; i < count; i++)
      if (is_code(words[i]) && look(words + i, count - i)) return true;
    return false;
  }

  void find_in(const Elf64_Phdr& header, void (Finder::*look)(uint64_t*, size_t)) {
    any_in(header, [&](uint64_t* words, size_t available) { return (this->*look)(words, available), false; });
  }

  bool is_waker_table(const uint64_t* words, size_t available) const {
    return available >= 4 && is_code(words[1]) && is_code(words[2]) && is_code(words[3]);
  }

  void look_for_tables(uint64_t* words, size_t available) {
    if ((symbols_.roles_at(words[0]) & kPollRole) != 0) add_task_table(words, available);
    if (!is_waker_table(words, available)) return;
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
  bool refers_to(uint64_t function, uint64_t table) const {
    constexpr uint64_t kLongest = 256;
    const auto* code = reinterpret_cast<const unsigned char*>(function);
    const uint64_t length = std::min(kLongest, code_from(function));
    for (uint64_t i = 0; i + 7 <= length; i++) {
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
        return find_function(module_, function, range) && function == range.start && function + i < range.end;
    }
    return false;
  }

  static RuntimeId waker_runtime(uint32_t roles) {
    if ((roles & kTokioWaker) != 0) return RuntimeId::kTokio;
    return (roles & kAsyncTaskWaker) != 0 ? RuntimeId::kAsyncTask : RuntimeId::kUnknown;
  }

  void add_waker_table(uint64_t* words) {
    const uint32_t number =
        row_for(g_tables.wakers, g_tables.waker_count, ThunkArray::kClone, address_of(words));
    if (number == kNone) return;
    WakerTable& table = g_tables.wakers[number];
    table.address = address_of(words);
    memcpy(&table.original, words, sizeof(WakerVtable));
    const uint32_t roles = symbols_.roles_at(words[0]);
    table.runtime = waker_runtime(roles);
    if (table.runtime != RuntimeId::kUnknown) table.kind = WakerKind::kTask;
    else table.kind = (roles & kBlockOnWaker) != 0 ? WakerKind::kBlockOn : WakerKind::kOther;
    table.off.store(false, std::memory_order_relaxed);
    table.layout.store(LayoutState::kUnknown, std::memory_order_relaxed);
    plan_patch(words, ThunkArray::kClone, number);
    found_wakers_ = true;
  }

  void add_task_table(uint64_t* words, size_t available) {
    const uint32_t poll = add_poll(words, ThunkArray::kPoll, g_tables.polls, g_tables.poll_count);
    constexpr size_t kTaskFunctions = 8;
    for (size_t i = 1; i < kTaskFunctions && i < available && is_code(words[i]); i++) {
      const uint32_t roles = symbols_.roles_at(words[i]);
      if ((roles & kPollRole) != 0) return;  // the next table
      if ((roles & kAsyncTaskWaker) != 0 && poll != kNone) g_tables.polls[poll].own_clone = words[i];
      if ((roles & kShutdownRole) != 0)
        add_poll(words + i, ThunkArray::kShutdown, g_tables.shutdowns, g_tables.shutdown_count);
      else if ((roles & kDeallocRole) != 0)
        add(words + i, ThunkArray::kDealloc, g_tables.deallocs, g_tables.dealloc_count);
      else if ((roles & kScheduleRole) != 0)
        add(words + i, ThunkArray::kSchedule, g_tables.schedules, g_tables.schedule_count);
      else if ((roles & kOutputRole) != 0)
        add(words + i, ThunkArray::kOutput, g_tables.outputs, g_tables.output_count);
    }
  }

  uint32_t add_poll(uint64_t* slot, ThunkArray array, PollFunction* rows, uint32_t& count) {
    const uint32_t number = row_for(rows, count, array, *slot);
    if (number == kNone) return number;
    PollFunction& row = rows[number];
    row.original = reinterpret_cast<Words (*)(void*)>(*slot);
    row.waker_table.store(kNoTable, std::memory_order_relaxed);
    row.own_clone = 0;
    plan_patch(slot, array, number);
    return number;
  }

  template <typename F>
  void add(uint64_t* slot, ThunkArray array, F* rows, uint32_t& count) {
    const uint32_t number = row_for(rows, count, array, *slot);
    if (number == kNone) return;
    rows[number] = reinterpret_cast<F>(*slot);
    plan_patch(slot, array, number);
  }

  // Which waker table a poll function's tasks use. async-task has one for each type of task, and the task
  // table names its clone function. tokio has one: with several (two versions in one module) each poll
  // function learns its own from the first waker that is cloned under it.
  bool link_poll_functions() {
    const uint16_t tokio = only_waker_table(RuntimeId::kTokio);
    bool any = false;
    for (uint32_t i = 0; i < g_tables.poll_count; i++) {
      PollFunction& poll = g_tables.polls[i];
      if (!is_in(module_, address_of(poll))) continue;
      const bool is_tokio = poll.own_clone == 0;
      poll.runtime = is_tokio ? RuntimeId::kTokio : RuntimeId::kAsyncTask;
      poll.waker_table = is_tokio ? tokio : waker_table_of(poll.own_clone);
      any = true;
    }
    return any;
  }

  uint16_t only_waker_table(RuntimeId runtime) const {
    uint16_t only = kNoTable;
    for (uint32_t i = 0; i < g_tables.waker_count; i++) {
      const WakerTable& table = g_tables.wakers[i];
      if (table.runtime != runtime || !is_in(module_, table.address)) continue;
      if (only != kNoTable) return kNoTable;
      only = static_cast<uint16_t>(i);
    }
    return only;
  }

  static uint16_t waker_table_of(uint64_t clone) {
    for (uint32_t i = 0; i < g_tables.waker_count; i++)
      if (address_of(g_tables.wakers[i].original.clone) == clone) return static_cast<uint16_t>(i);
    return kNoTable;
  }

  const LoadedModule& module_;
  const SymbolIndex& symbols_;
  uint64_t code_start_ = UINT64_MAX, code_end_ = 0;  // around all of it
  bool found_wakers_ = false;
};

}  // namespace

bool start_tables() {
  auto* rows = reserve_array<Rows>(1);
  if (rows == nullptr) return false;
  g_pending = rows->pending;
  g_tables.wakers = rows->wakers;
  g_tables.polls = rows->polls;
  g_tables.shutdowns = rows->shutdowns;
  g_tables.deallocs = rows->deallocs;
  g_tables.schedules = rows->schedules;
  g_tables.outputs = rows->outputs;
  return true;
}

bool find_tables(const LoadedModule& module, const ElfSymbols& symbols) {
  const ElfSymbols::Table& table = symbols.local();
  if (table.symbols.empty()) return false;
  if (const SymbolIndex index(table, module.bias, SymbolIndex::Wanted::kRuntime); !index.empty())
    return Finder(module, index).run();
  else if (!index.is_rust() || !Finder(module, index).has_waker_table()) return false;
  // An executor that we do not know: its tasks are known by their wakers alone.
  return Finder(module, SymbolIndex(table, module.bias, SymbolIndex::Wanted::kRust)).run();
}

void patch_tables() {
  SlotPatcher patcher;
  for (const Pending& patch : std::span(g_pending, g_pending_count)) patcher.write(patch.slot, patch.thunk);
  g_pending_count = 0;
}

bool has_our_thunks(const LoadedModule& module) {
  for (const Patch& patch : patches())
    if (is_in(module, address_of(patch.slot))) return *patch.slot != patch.original;
  return true;
}

void forget_tables(const LoadedModule& module) {
  uint32_t kept = 0;
  for (const Pending& patch : std::span(g_pending, g_pending_count))
    if (!is_in(module, address_of(patch.slot))) g_pending[kept++] = patch;
  g_pending_count = kept;
  forget_patches(module.start, module.end);
}

void publish_pollers() {
  for (uint32_t i = 0; i < g_tables.poll_count; i++) {
    if (i >= g_published_pollers) {
      if (g_segment.take(segment::kPollers, 1) == kNone) return;
      g_published_pollers = i + 1;
    }
    segment::Poller& poller = g_segment.items<segment::Poller>(segment::kPollers)[i];
    std::atomic_ref<RuntimeId>(poller.runtime).store(g_tables.polls[i].runtime, std::memory_order_relaxed);
    std::atomic_ref<uint64_t>(poller.address)
        .store(address_of(g_tables.polls[i].original), std::memory_order_relaxed);
  }
}

void republish_pollers() {
  g_published_pollers = 0;
  publish_pollers();
}

}  // namespace asynctrace::agent
