#include "cli/census/memory_scan.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <tuple>

#include "common/task_layout.hpp"

namespace asynctrace {
namespace {

constexpr size_t kChunk = 1 << 20;  // fits into a second-level cache
constexpr uint64_t kPage = 4096;
constexpr size_t kBlock = 8;                       // words that are looked at together
constexpr uint64_t kMaxReferences = 1 << 24;       // what more looks like is an address
constexpr uint64_t kMaxOwner = uint64_t{1} << 32;  // counted up, once for each runtime
constexpr uint64_t kMaxNativeId = uint64_t{1} << 48;
constexpr uint64_t kTaskAlignment = 8;

class WordScan {
 public:
  WordScan(const Memory& memory, std::span<const uint64_t> values)
      : memory_(memory), values_(values), lowest_(values.front()), span_(values.back() - values.front()) {}

  void add(const MemoryRange& range) {
    // By what is left: a range may end at the last of all addresses.
    for (uint64_t left = range.end - range.start; left > 0; left -= std::min<uint64_t>(kChunk, left))
      read(range.end - left, std::min<uint64_t>(kChunk, left), range.is_stack);
  }
  std::vector<Hit> take() { return std::move(hits_); }

 private:
  // Around what cannot be read any more, page by page.
  void read(uint64_t address, uint64_t size, bool on_stack) {
    const auto into = std::span(words_).first(size / sizeof(uint64_t));
    if (memory_.read(address, std::as_writable_bytes(into))) return look(address, into, on_stack);
    if (size <= kPage) return;
    const uint64_t half = (size / 2 + kPage - 1) / kPage * kPage;
    read(address, half, on_stack);
    read(address + half, size - half, on_stack);
  }

  void look(uint64_t address, std::span<const uint64_t> words, bool on_stack) {
    const size_t whole = words.size() / kBlock * kBlock;
    for (size_t i = 0; i < whole; i += kBlock) {
      // Without a branch for each word the compiler can look at several at once.
      bool any = false;
      for (size_t k = 0; k < kBlock; ++k) any |= words[i + k] - lowest_ <= span_;
      if (!any) continue;
      for (size_t k = 0; k < kBlock; ++k) check(address + (i + k) * sizeof(uint64_t), words[i + k], on_stack);
    }
    for (size_t i = whole; i < words.size(); ++i) check(address + i * sizeof(uint64_t), words[i], on_stack);
  }

  void check(uint64_t address, uint64_t word, bool on_stack) {
    if (word - lowest_ > span_) return;
    const auto found = std::ranges::lower_bound(values_, word);
    if (found != values_.end() && *found == word)
      hits_.push_back({address, static_cast<size_t>(found - values_.begin()), on_stack});
  }

  const Memory& memory_;
  std::span<const uint64_t> values_;
  uint64_t lowest_, span_;
  std::vector<uint64_t> words_ = std::vector<uint64_t>(kChunk / sizeof(uint64_t));
  std::vector<Hit> hits_;
};

// state, queue_next, vtable, owner_id. A freed chunk of glibc's has links or a key in its first two words,
// tokio leaves no reference in what it frees, and sets the owner only once a task has left the stack for the
// heap.
bool is_tokio_header(const std::array<uint64_t, 4>& words, bool on_stack) {
  const uint64_t queue_next = words[1], owner = words[3];
  return queue_next % kTaskAlignment == 0 && owner < kMaxOwner && (owner != 0 || !on_stack);
}

// Tasks are made on the heap. A waker, of which one word is null if there is none, beside state and table.
bool is_async_task_header(const std::array<uint64_t, 4>& words, const TaskTable& table) {
  const auto may_be_pointer = [](uint64_t word) { return word % kTaskAlignment == 0 && word >> 47 == 0; };
  bool all_pointers = true, any_null = false;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i * sizeof(uint64_t) == table.state_offset || i * sizeof(uint64_t) == table.offset_in_task) continue;
    all_pointers &= may_be_pointer(words[i]);
    any_null |= words[i] == 0;
  }
  return all_pointers || any_null;
}

bool is_plausible_state(uint64_t state, const TaskLayout& layout, RuntimeId runtime) {
  const uint64_t references = state / layout.reference;
  if ((state & layout.ended) != 0 || references > kMaxReferences) return false;
  constexpr uint64_t kTaskHandle = 16;  // async-task's, which is not counted
  return references != 0 || (runtime == RuntimeId::kAsyncTask &&
                             (state & (kTaskHandle | layout.running | layout.scheduled)) != 0);
}

}  // namespace

TaskState state_of(const TaskHeader& header) {
  const TaskLayout& layout = task_layout(header.table->runtime);
  if ((header.state & layout.running) != 0) return TaskState::kRunning;
  return (header.state & layout.scheduled) != 0 ? TaskState::kScheduled : TaskState::kWaiting;
}

bool is_stuck(const TaskHeader& header) {
  return state_of(header) == TaskState::kWaiting &&
         other_references(task_layout(header.table->runtime), header.state, 0) == segment::References::kNone;
}

std::optional<TaskHeader> read_header(const Memory& memory, uint64_t address, const TaskTable& table,
                                      bool on_stack) {
  std::array<uint64_t, 4> words{};
  const uint64_t& state = words[table.state_offset / sizeof(uint64_t)];
  if (address % kTaskAlignment != 0 || !memory.read(address, std::as_writable_bytes(std::span(words))) ||
      words[table.offset_in_task / sizeof(uint64_t)] != table.address ||
      !is_plausible_state(state, task_layout(table.runtime), table.runtime))
    return std::nullopt;
  const bool fits = table.runtime == RuntimeId::kTokio ? is_tokio_header(words, on_stack)
                                                       : !on_stack && is_async_task_header(words, table);
  if (!fits) return std::nullopt;
  TaskHeader header{address, &table, state};
  if (table.runtime == RuntimeId::kTokio) {
    header.queue_next = words[1];
    header.owner = words[3];
  }
  if (table.id_offset) {
    header.native_id = memory.number(address + *table.id_offset);
    if (!header.native_id || *header.native_id == 0 || *header.native_id > kMaxNativeId) return std::nullopt;
  }
  return header;
}

namespace {

std::optional<TaskHeader> header_at(const Memory& memory, const Hit& hit, const TaskTable& table) {
  if (hit.address < table.offset_in_task) return std::nullopt;
  return read_header(memory, hit.address - table.offset_in_task, table, hit.on_stack);
}

// Of async-task's headers that by which most of what was found makes sense.
void choose_order(const Memory& memory, std::span<const Hit> hits, std::span<TaskTable* const> tables) {
  size_t most = 0;
  HeaderOrder chosen = kAsyncTaskOrders[0];
  for (const HeaderOrder& order : kAsyncTaskOrders) {
    const auto fits = static_cast<size_t>(std::ranges::count_if(hits, [&](const Hit& hit) {
      TaskTable table = *tables[hit.value];
      if (table.runtime != RuntimeId::kAsyncTask) return false;
      table.offset_in_task = order.offset_in_task;
      table.state_offset = order.state_offset;
      return header_at(memory, hit, table).has_value();
    }));
    if (fits <= most) continue;
    most = fits;
    chosen = order;
  }
  for (TaskTable* table : tables) {
    if (table->runtime != RuntimeId::kAsyncTask) continue;
    table->offset_in_task = chosen.offset_in_task;
    table->state_offset = chosen.state_offset;
  }
}

}  // namespace

std::vector<Hit> scan_for_words(const Memory& memory, std::span<const MemoryRange> ranges,
                                std::span<const uint64_t> values) {
  if (values.empty()) return {};
  WordScan scan(memory, values);
  for (const MemoryRange& range : ranges) scan.add(range);
  return scan.take();
}

std::vector<TaskHeader> scan_for_tasks(const ProcessImage& image, std::span<TaskTable> tables) {
  const Memory& memory = *image.memory;
  std::vector<TaskTable*> sorted;
  for (TaskTable& table : tables) sorted.push_back(&table);
  std::ranges::sort(sorted, {}, &TaskTable::address);
  std::vector<uint64_t> addresses;
  for (const TaskTable* table : sorted) addresses.push_back(table->address);
  const auto is_task = [&](uint64_t address, uint64_t offset) {
    const auto word = memory.number(address + offset);
    return word && std::ranges::binary_search(addresses, *word);
  };
  const std::vector<Hit> hits = scan_for_words(memory, image.writable, addresses);
  choose_order(memory, hits, sorted);
  std::vector<TaskHeader> found;
  for (const Hit& hit : hits) {
    const auto header = header_at(memory, hit, *sorted[hit.value]);
    if (!header) continue;
    const uint64_t next = header->queue_next;
    if (next == 0 || is_task(next, header->table->offset_in_task)) found.push_back(*header);
  }
  const auto number = [](const TaskHeader& header) { return std::tuple(header.native_id, header.table); };
  std::ranges::sort(found, [&](const TaskHeader& a, const TaskHeader& b) {
    return std::tuple(number(a), a.owner == 0, a.address) < std::tuple(number(b), b.owner == 0, b.address);
  });
  // What a task left behind on its way from the stack to the heap.
  const auto copies = std::unique(found.begin(), found.end(), [&](const TaskHeader& a, const TaskHeader& b) {
    return a.native_id && number(a) == number(b);
  });
  found.erase(copies, found.end());
  return found;
}

}  // namespace asynctrace
