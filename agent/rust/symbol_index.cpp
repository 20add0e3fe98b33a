#include "agent/rust/symbol_index.hpp"

#include <sys/mman.h>

#include <algorithm>

#include "agent/platform.hpp"
#include "common/rust_symbols.hpp"

namespace asynctrace::agent {
SymbolIndex::SymbolIndex(const ElfSymbols::Table& table, uint64_t bias, Wanted wanted) {
  const bool runtime = names_a_runtime(table.names.data(), table.names.size());
  is_rust_ = runtime || names_rust(table.names.data(), table.names.size());
  if (!(wanted == Wanted::kRuntime ? runtime : is_rust_)) return;
  capacity_ = table.symbols.size();
  entries_ = reserve_array<Entry>(capacity_);
  if (entries_ == nullptr) return;
  for (const Elf64_Sym& symbol : table.symbols) {
    const char* name = table.name(symbol);
    if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || name == nullptr) continue;
    const uint32_t roles = roles_of(name);
    if (roles != 0) entries_[count_++] = {symbol.st_value + bias, roles};
  }
  sort_and_merge();
}

SymbolIndex::~SymbolIndex() {
  if (entries_ != nullptr) munmap(entries_, capacity_ * sizeof(Entry));
}

void SymbolIndex::sort_and_merge() {
  std::sort(entries_, entries_ + count_,
            [](const Entry& a, const Entry& b) { return a.address < b.address; });
  size_t kept = 0;
  for (size_t i = 0; i < count_; i++) {
    if (kept != 0 && entries_[kept - 1].address == entries_[i].address)
      entries_[kept - 1].roles |= entries_[i].roles;
    else entries_[kept++] = entries_[i];
  }
  count_ = kept;
}

uint32_t SymbolIndex::roles_at(uint64_t address) const {
  const Entry* begin = entries_;
  const Entry* end = begin + count_;
  const Entry* found = std::lower_bound(
      begin, end, address, [](const Entry& entry, uint64_t value) { return entry.address < value; });
  return found != end && found->address == address ? found->roles : 0;
}

}  // namespace asynctrace::agent
