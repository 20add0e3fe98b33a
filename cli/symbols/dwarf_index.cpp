#include "cli/symbols/dwarf_index.hpp"

#include <algorithm>
#include <optional>

#include "cli/symbols/dwarf_die.hpp"
#include "cli/symbols/dwarf_names.hpp"
#include "cli/symbols/range_map.hpp"

namespace asynctrace {

namespace {

// A function or an inlined call. Its inlined calls are listed when an address first falls into it.
struct Scope {
  Dwarf_Die die{};
  bool listed = false;
  struct Call {
    CodeRange range;
    uint32_t scope;
  };
  std::vector<Call> calls;
};

struct Unit {
  Dwarf_Die lines{};      // has the line table: the skeleton, where the unit is split
  Dwarf_Die functions{};  // has the functions
  bool listed = false;
  bool searched_deep = false;
  RangeMap tops;     // functions, as indexes into `scopes`
  RangeMap nested;   // functions inside functions
  RangeMap dropped;  // functions that the linker left out, where they would be
  std::vector<Scope> scopes;
};

}  // namespace

struct DwarfIndex::Impl {
  Dwarf* dwarf = nullptr;
  std::function<bool(uint64_t)> is_code;
  std::vector<Unit> units;
  bool lacks_split_units = false;
  RangeMap unit_ranges;
  DwarfNames names;

  ~Impl() { dwarf_end(dwarf); }

  void list_units() {
    for_each_unit(dwarf, [&](uint8_t type, Dwarf_Die* unit, Dwarf_Die* split) {
      if (type != DW_UT_compile && type != DW_UT_skeleton) return;
      // A skeleton alone has lines but no functions: a line from an inlined call would look like its
      // caller's.
      const bool skeleton = type == DW_UT_skeleton;
      if (skeleton && dwarf_tag(split) != DW_TAG_compile_unit) {
        lacks_split_units = true;
        return;
      }
      const auto index = static_cast<uint32_t>(units.size());
      for (const CodeRange& range : ranges_of(unit)) {
        if (is_code(range.begin)) unit_ranges.add(range.begin, range.end, index);
      }
      Unit& added = units.emplace_back();
      added.lines = *unit;
      added.functions = skeleton ? *split : *unit;
    });
    unit_ranges.seal();
  }

  void add_function(Unit& unit, RangeMap& map, Dwarf_Die* die) {
    const auto ranges = ranges_of(die);
    if (ranges.empty()) return;
    const auto index = static_cast<uint32_t>(unit.scopes.size());
    for (const CodeRange& range : ranges) {
      (is_code(range.begin) ? map : unit.dropped).add(range.begin, range.end, index);
    }
    unit.scopes.emplace_back().die = *die;
  }

  void list_functions(Unit& unit, Dwarf_Die* parent, int depth) {
    if (depth > kMaxDieDepth) return;
    for_each_child(parent, [&](Dwarf_Die* child) {
      const int tag = dwarf_tag(child);
      if (tag == DW_TAG_subprogram) add_function(unit, unit.tops, child);
      if (is_scope(tag)) list_functions(unit, child, depth + 1);
    });
  }

  // Functions inside functions: GNU C, OpenMP, members of local classes. Reading all of a unit for them is
  // worth it only for an address that no other function covers.
  void list_nested(Unit& unit, Dwarf_Die* parent, bool inside, int depth) {
    if (depth > kMaxDieDepth) return;
    for_each_child(parent, [&](Dwarf_Die* child) {
      const bool function = dwarf_tag(child) == DW_TAG_subprogram;
      if (function && inside) add_function(unit, unit.nested, child);
      if (dwarf_haschildren(child) > 0) list_nested(unit, child, inside || function, depth + 1);
    });
  }

  std::optional<uint32_t> function_scope(Unit& unit, uint64_t address) {
    if (!unit.listed) {
      unit.listed = true;
      list_functions(unit, &unit.functions, 0);
      unit.tops.seal();
      unit.dropped.seal();
    }
    if (const auto top = unit.tops.find(address)) return top;
    if (!unit.searched_deep) {
      unit.searched_deep = true;
      list_nested(unit, &unit.functions, false, 0);
      unit.nested.seal();
      unit.dropped.seal();
    }
    return unit.nested.find(address);
  }

  void list_calls(Unit& unit, Dwarf_Die* parent, std::vector<Scope::Call>& calls, int depth) {
    if (depth > kMaxDieDepth) return;
    for_each_child(parent, [&](Dwarf_Die* child) {
      const int tag = dwarf_tag(child);
      if (tag == DW_TAG_lexical_block) list_calls(unit, child, calls, depth + 1);
      if (tag != DW_TAG_inlined_subroutine) return;
      const auto index = static_cast<uint32_t>(unit.scopes.size());
      for (const CodeRange& range : ranges_of(child)) calls.push_back({range, index});
      if (!calls.empty() && calls.back().scope == index) unit.scopes.emplace_back().die = *child;
    });
  }

  std::optional<uint32_t> inlined_call(Unit& unit, uint32_t scope, uint64_t address) {
    if (!unit.scopes[scope].listed) {
      std::vector<Scope::Call> calls;
      Dwarf_Die die = unit.scopes[scope].die;
      list_calls(unit, &die, calls, 0);
      unit.scopes[scope].listed = true;
      unit.scopes[scope].calls = std::move(calls);
    }
    for (const Scope::Call& call : unit.scopes[scope].calls) {
      if (address >= call.range.begin && address < call.range.end) return call.scope;
    }
    return std::nullopt;
  }

  void set_line(Unit& unit, uint64_t address, SourceFrame& frame) {
    // libdw sorts the lines of a unit by address. Dropped functions start at 0 or so; where a long one
    // reaches into the code, a line may belong to either.
    if (unit.dropped.find(address)) return;
    Dwarf_Line* row = dwarf_getsrc_die(&unit.lines, address);
    if (row == nullptr) return;
    int line = 0;
    int column = 0;
    frame.file = absolute(dwarf_linesrc(row, nullptr, nullptr), &unit.lines);
    if (dwarf_lineno(row, &line) == 0 && line > 0) frame.line = static_cast<uint32_t>(line);
    if (dwarf_linecol(row, &column) == 0 && column > 0) frame.column = static_cast<uint32_t>(column);
  }
};

DwarfIndex::DwarfIndex(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DwarfIndex::~DwarfIndex() = default;

std::unique_ptr<DwarfIndex> DwarfIndex::open(Elf* elf, std::function<bool(uint64_t)> is_code) {
  auto impl = std::make_unique<Impl>();
  impl->dwarf = dwarf_begin_elf(elf, DWARF_C_READ, nullptr);
  if (impl->dwarf == nullptr) return nullptr;
  impl->is_code = std::move(is_code);
  impl->list_units();
  if (impl->units.empty() && !impl->lacks_split_units) return nullptr;
  return std::unique_ptr<DwarfIndex>(new DwarfIndex(std::move(impl)));
}

bool DwarfIndex::lacks_split_units() const {
  return impl_->lacks_split_units;
}

std::vector<SourceFrame> DwarfIndex::lookup(uint64_t address) {
  const auto found = impl_->unit_ranges.find(address);
  if (!found) return {};
  Unit& unit = impl_->units[*found];

  std::vector<uint32_t> chain;
  for (auto scope = impl_->function_scope(unit, address); scope;
       scope = impl_->inlined_call(unit, *scope, address)) {
    chain.push_back(*scope);
  }
  std::vector<SourceFrame> frames(std::max<size_t>(chain.size(), 1));
  impl_->set_line(unit, address, frames[0]);
  for (size_t i = 0; i < chain.size(); ++i) {
    Dwarf_Die& die = unit.scopes[chain[chain.size() - 1 - i]].die;
    frames[i].name = impl_->names.name_of(die);
    if (i + 1 == chain.size()) break;
    frames[i].inlined = true;
    frames[i + 1].file = file_of(&die, DW_AT_call_file);
    frames[i + 1].line = number(&die, DW_AT_call_line);
    frames[i + 1].column = number(&die, DW_AT_call_column);
  }
  return frames;
}

std::vector<SourceFrame> DwarfIndex::function_at(uint64_t address) {
  const auto found = impl_->unit_ranges.find(address);
  if (!found) return {};
  Unit& unit = impl_->units[*found];
  const auto scope = impl_->function_scope(unit, address);
  if (!scope) return {};
  Dwarf_Die& die = unit.scopes[*scope].die;
  return {{.name = impl_->names.name_of(die),
           .file = file_of(&die, DW_AT_decl_file),
           .line = number(&die, DW_AT_decl_line, true),
           .column = number(&die, DW_AT_decl_column, true),
           .inlined = false}};
}

}  // namespace asynctrace
