#include "cli/census/task_tables.hpp"

#include <algorithm>
#include <unordered_map>

#include "cli/symbols/elf_pointers.hpp"
#include "common/rust_symbols.hpp"

namespace asynctrace {
namespace {

constexpr size_t kMaxFunctions = 12;  // of one table
constexpr uint64_t kMaxTaskSize = 1 << 30;

// tokio's header since 1.21: state, queue_next, vtable, owner_id. Since then its table ends in offsets.
constexpr uint64_t kTokioTableOffset = 16;
constexpr uint64_t kTokioHeaderSize = 32;

class Finder {
 public:
  Finder(const Module& module, const ModuleFiles& files) : module_(module), file_(*files.file) {
    files.names().for_each_symbol([&](const ElfSymbol& symbol) {
      if (const uint32_t roles = roles_of(symbol.name.data())) roles_[symbol.address] |= roles;
    });
  }

  TaskTables find() {
    const bool has_runtime =
        std::ranges::any_of(roles_, [](const auto& entry) { return (entry.second & kPollRole) != 0; });
    if (!has_runtime) return {};
    pointers_ = code_pointers(file_);
    for (size_t i = 0; i < pointers_.size(); ++i)
      if (has(i, kPollRole)) add_table(i);
    return std::move(found_);
  }

 private:
  bool has(size_t index, uint32_t role) const {
    const auto roles = roles_.find(pointers_[index].target);
    return roles != roles_.end() && (roles->second & role) != 0;
  }

  // Whether the pointers stand side by side.
  bool follows(size_t index, size_t before) const {
    return index < pointers_.size() &&
           pointers_[index].slot == pointers_[before].slot + (index - before) * sizeof(uint64_t);
  }

  void add_table(size_t poll) {
    size_t first = poll, last = poll;
    while (first > 0 && poll - first < kMaxFunctions && follows(poll, first - 1) &&
           has(first - 1, kTableStartRole))
      --first;
    bool is_async_task = false, frees = first != poll;
    for (size_t next = poll + 1; next - poll < kMaxFunctions && follows(next, poll); ++next) {
      if (has(next, kPollRole)) break;
      is_async_task |= has(next, kAsyncTaskWaker);
      frees |= has(next, kDeallocRole);
      last = next;
    }
    if (!frees) return;  // a lone pointer to a poll function
    TaskTable table;
    table.address = pointers_[first].slot + module_.bias;
    table.poll_function = pointers_[poll].target + module_.bias;
    if (is_async_task) {
      table.runtime = RuntimeId::kAsyncTask;
      table.offset_in_task = kAsyncTaskOrders[0].offset_in_task;
    } else if (!add_offsets(pointers_[last].slot + sizeof(uint64_t), table)) {
      ++found_.unknown_layouts;
      return;
    }
    found_.tables.push_back(table);
  }

  // What follows the functions of tokio's table: where a task has its trailer, its scheduler and its id; the
  // latter two since 1.24.
  bool add_offsets(uint64_t slot, TaskTable& table) const {
    const auto offset = [&](size_t index) -> std::optional<uint64_t> {
      const auto word = data_word(file_, slot + index * sizeof(uint64_t));
      return word && *word >= kTokioHeaderSize && *word < kMaxTaskSize ? word : std::nullopt;
    };
    const auto trailer = offset(0), scheduler = offset(1), id = offset(2);
    if (!trailer || *trailer % 8 != 0) return false;
    table.runtime = RuntimeId::kTokio;
    table.offset_in_task = kTokioTableOffset;
    if (scheduler && id && *scheduler <= *id && *id < *trailer && *id % 8 == 0) table.id_offset = id;
    return true;
  }

  const Module& module_;
  const ElfFile& file_;
  std::unordered_map<uint64_t, uint32_t> roles_;
  std::vector<CodePointer> pointers_;
  TaskTables found_;
};

}  // namespace

TaskTables find_task_tables(const Module& module, const ModuleFiles& files) {
  return files.file ? Finder(module, files).find() : TaskTables{};
}

}  // namespace asynctrace
