#include "cli/symbols/symbol_table.hpp"

#include <algorithm>

namespace asynctrace {
namespace {

// Frames are handed out as copies: this bounds what a small file with long texts can make of them.
constexpr uint64_t kMaxExpandedBytes = 1ull << 30;
constexpr uint32_t kMaxChain = 4096;  // calls inlined into one another

struct EntryRecord {
  uint64_t address;
  uint32_t count;  // of frames; chains stand in the order of the entries
  Evidence found;
};
static_assert(sizeof(EntryRecord) == 16);

}  // namespace

size_t SymbolTable::RecordHash::operator()(const Record& record) const {
  size_t hash = 0;
  for (const uint32_t part : {record.function, record.raw, record.debug_name, record.file, record.line,
                              record.column, record.inlined}) {
    hash = (hash ^ part) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 32;
  }
  return hash;
}

std::optional<SymbolTable::Entry> SymbolTable::find(Lookup lookup, uint64_t address) const {
  const auto& entries = entries_[static_cast<size_t>(lookup)];
  const auto found = entries.find(address);
  return found == entries.end() ? std::nullopt : std::optional(found->second);
}

uint32_t SymbolTable::intern(const std::string& text) {
  const auto [entry, is_new] = text_numbers_.try_emplace(text, static_cast<uint32_t>(texts_.size()));
  if (is_new) texts_.push_back(text);
  return entry->second;
}

SymbolTable::Entry SymbolTable::add(Lookup lookup, uint64_t address, Evidence found,
                                    std::span<const Frame> frames) {
  if (text_numbers_.size() != texts_.size()) {
    for (uint32_t i = 0; i < texts_.size(); ++i) text_numbers_.emplace(texts_[i], i);
    for (uint32_t i = 0; i < records_.size(); ++i) record_numbers_.emplace(records_[i], i);
  }
  Entry entry{static_cast<uint32_t>(chains_.size()), 0, found};
  for (const Frame& frame : frames.first(std::min<size_t>(frames.size(), kMaxChain))) {
    const Record record{intern(frame.function), intern(frame.raw), intern(frame.debug_name),
                        intern(frame.file),     frame.line,        frame.column,
                        frame.inlined};
    const auto [known, is_new] = record_numbers_.try_emplace(record, static_cast<uint32_t>(records_.size()));
    if (is_new) records_.push_back(record);
    chains_.push_back(known->second);
    ++entry.count;
  }
  return entries(lookup)[address] = entry;
}

std::vector<Frame> SymbolTable::frames(const Entry& entry) const {
  std::vector<Frame> frames(entry.count);
  for (uint32_t i = 0; i < entry.count; ++i) {
    const Record& record = records_[chains_[entry.first + i]];
    Frame& frame = frames[i];
    frame.function = texts_[record.function];
    frame.raw = texts_[record.raw];
    frame.debug_name = texts_[record.debug_name];
    frame.file = texts_[record.file];
    frame.line = record.line;
    frame.column = record.column;
    frame.inlined = record.inlined != 0;
  }
  return frames;
}

void SymbolTable::write(ByteWriter& out) const {
  // Numbers in the order of use, by address: they do not depend on the order in which addresses were asked.
  std::vector<uint32_t> text_of(texts_.size(), UINT32_MAX), record_of(records_.size(), UINT32_MAX);
  std::vector<uint32_t> texts, records, chains;
  const auto number = [](uint32_t old, std::vector<uint32_t>& numbers, std::vector<uint32_t>& used) {
    const bool is_new = numbers[old] == UINT32_MAX;
    if (is_new) {
      numbers[old] = static_cast<uint32_t>(used.size());
      used.push_back(old);
    }
    return is_new;
  };
  std::vector<EntryRecord> sorted[2];
  for (size_t lookup = 0; lookup < 2; ++lookup) {
    for (const auto& [address, entry] : entries_[lookup])
      sorted[lookup].push_back({address, entry.count, entry.found});
    std::ranges::sort(sorted[lookup], {}, &EntryRecord::address);
    for (const EntryRecord& record : sorted[lookup]) {
      const Entry& entry = entries_[lookup].at(record.address);
      for (uint32_t i = entry.first; i < entry.first + entry.count; ++i) {
        if (number(chains_[i], record_of, records)) {
          const Record& used = records_[chains_[i]];
          for (const uint32_t text : {used.function, used.raw, used.debug_name, used.file})
            number(text, text_of, texts);
        }
        chains.push_back(record_of[chains_[i]]);
      }
    }
  }
  out.put(static_cast<uint32_t>(texts.size()));
  for (const uint32_t text : texts) out.put_text(texts_[text]);
  out.put(static_cast<uint32_t>(records.size()));
  for (const uint32_t old : records) {
    Record record = records_[old];
    for (uint32_t* text : {&record.function, &record.raw, &record.debug_name, &record.file})
      *text = text_of[*text];
    out.put(record);
  }
  out.put(static_cast<uint32_t>(chains.size()));
  for (const uint32_t record : chains) out.put(record);
  for (const auto& entries : sorted) {
    out.put(static_cast<uint32_t>(entries.size()));
    for (const EntryRecord& entry : entries) out.put(entry);
  }
}

SymbolTable SymbolTable::read(ByteReader& in) {
  SymbolTable table;
  const auto texts = in.get<uint32_t>();
  for (uint32_t i = 0; i < texts && in.ok(); ++i) table.texts_.emplace_back(in.get_text());
  table.records_ = in.get_all<Record>();
  table.chains_ = in.get_all<uint32_t>();
  uint64_t first = 0;
  for (auto& entries : table.entries_) {
    const auto records = in.get_all<EntryRecord>();
    entries.reserve(records.size());
    for (const EntryRecord& record : records) {
      if (record.count > kMaxChain || record.count > table.chains_.size() - first ||
          record.found > Evidence::kDebugInfo) {
        in.refuse();
        return {};
      }
      entries.emplace(record.address, Entry{static_cast<uint32_t>(first), record.count, record.found});
      first += record.count;
    }
  }
  if (!table.holds_together()) in.refuse();
  return in.ok() ? std::move(table) : SymbolTable();
}

bool SymbolTable::holds_together() const {
  const auto text_size = [&](uint32_t text) { return texts_[text].size(); };
  for (const Record& record : records_) {
    for (const uint32_t text : {record.function, record.raw, record.debug_name, record.file})
      if (text >= texts_.size()) return false;
  }
  uint64_t expanded = 0;
  for (const uint32_t chain : chains_) {
    if (chain >= records_.size()) return false;
    const Record& record = records_[chain];
    expanded += text_size(record.function) + text_size(record.raw) + text_size(record.debug_name) +
                text_size(record.file);
    if (expanded > kMaxExpandedBytes) return false;
  }
  return true;
}

void write_module(const ModuleSymbols& module, ByteWriter& out) {
  out.put(static_cast<uint32_t>(module.refused.reason));
  out.put_text(module.refused.detail);
  out.put(static_cast<uint32_t>(module.has_debug_info));
  out.put(static_cast<uint32_t>(module.lacks_split_units));
  module.table.write(out);
}

ModuleSymbols read_module(ByteReader& in) {
  ModuleSymbols module;
  const auto reason = in.get<uint32_t>();
  if (reason > static_cast<uint32_t>(kLastMissingReason)) in.refuse();
  module.refused = {static_cast<MissingReason>(reason), std::string(in.get_text())};
  module.has_debug_info = in.get<uint32_t>() != 0;
  module.lacks_split_units = in.get<uint32_t>() != 0;
  module.table = SymbolTable::read(in);
  return in.ok() ? std::move(module) : ModuleSymbols();
}

}  // namespace asynctrace
