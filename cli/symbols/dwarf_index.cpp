#include "cli/symbols/dwarf_index.hpp"

#include <dwarf.h>
#include <elfutils/libdw.h>

#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "cli/symbols/demangle.hpp"
#include "cli/symbols/range_map.hpp"

namespace asynctrace {

namespace {

// Nesting of scopes in a damaged file is bounded only by its size; the stack is not.
constexpr int kMaxDepth = 256;
constexpr int kMaxReferences = 16;

struct Range {
  uint64_t begin;
  uint64_t end;
};

std::vector<Range> ranges_of(Dwarf_Die* die) {
  std::vector<Range> ranges;
  Dwarf_Addr base = 0;
  Dwarf_Addr begin = 0;
  Dwarf_Addr end = 0;
  for (ptrdiff_t at = 0; (at = dwarf_ranges(die, at, &base, &begin, &end)) > 0;) {
    if (begin < end) ranges.push_back({begin, end});
  }
  return ranges;
}

template <typename Visit>
void for_each_child(Dwarf_Die* die, Visit visit) {
  Dwarf_Die child;
  if (dwarf_child(die, &child) != 0) return;
  do {
    visit(&child);
  } while (dwarf_siblingof(&child, &child) == 0);
}

bool is_scope(int tag) {
  switch (tag) {
    case DW_TAG_namespace:
    case DW_TAG_module:
    case DW_TAG_structure_type:
    case DW_TAG_class_type:
    case DW_TAG_interface_type:
    case DW_TAG_union_type:
    case DW_TAG_enumeration_type: return true;
    default: return false;
  }
}

uint32_t number(Dwarf_Die* die, unsigned attribute, bool through_origin = false) {
  Dwarf_Attribute found;
  Dwarf_Word value = 0;
  const auto* at = through_origin ? dwarf_attr_integrate(die, attribute, &found)
                                  : dwarf_attr(die, attribute, &found);
  if (at == nullptr || dwarf_formudata(&found, &value) != 0 || value > INT32_MAX) return 0;
  return static_cast<uint32_t>(value);
}

const char* text(Dwarf_Die* die, unsigned attribute) {
  Dwarf_Attribute found;
  if (dwarf_attr_integrate(die, attribute, &found) == nullptr) return nullptr;
  return dwarf_formstring(&found);
}

// Empty where the path is unknown; relative only where the compilation directory is unknown or relative.
std::string absolute(const char* path, Dwarf_Die* unit) {
  if (path == nullptr || *path == '\0' || std::string_view(path) == "???") return {};
  const char* folder = *path == '/' ? nullptr : text(unit, DW_AT_comp_dir);
  return folder == nullptr || *folder == '\0' ? path : std::string(folder) + '/' + path;
}

// `attribute` (DW_AT_call_file, DW_AT_decl_file) counts in the file table of the unit it stands in.
std::string file_of(Dwarf_Die* die, unsigned attribute) {
  Dwarf_Attribute found;
  Dwarf_Word index = 0;
  if (dwarf_attr_integrate(die, attribute, &found) == nullptr || dwarf_formudata(&found, &index) != 0) return {};
  Dwarf_Die unit;
  Dwarf_Files* files = nullptr;
  size_t count = 0;
  if (dwarf_cu_die(found.cu, &unit, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr) == nullptr ||
      dwarf_getsrcfiles(&unit, &files, &count) != 0 || index >= count) {
    return {};
  }
  return absolute(dwarf_filesrc(files, index, nullptr, nullptr), &unit);
}

// The declaration a function goes back to: it stands in the scopes that qualify its name.
Dwarf_Die declaration_of(Dwarf_Die die) {
  for (int i = 0; i < kMaxReferences; ++i) {
    Dwarf_Attribute link;
    Dwarf_Die target;
    if (dwarf_attr(&die, DW_AT_abstract_origin, &link) == nullptr &&
        dwarf_attr(&die, DW_AT_specification, &link) == nullptr) {
      break;
    }
    if (dwarf_formref_die(&link, &target) == nullptr) break;
    die = target;
  }
  return die;
}

bool is_c(Dwarf_Die* unit) {
  switch (dwarf_srclang(unit)) {
    case DW_LANG_C:
    case DW_LANG_C89:
    case DW_LANG_C99:
    case DW_LANG_C11:
    case DW_LANG_Mips_Assembler: return true;
    default: return false;
  }
}

// A function or an inlined call. Its inlined calls are listed when an address first falls into it.
struct Scope {
  Dwarf_Die die;
  bool listed = false;
  struct Call {
    Range range;
    uint32_t scope;
  };
  std::vector<Call> calls;
};

struct Unit {
  Dwarf_Die lines;      // has the line table: the skeleton, where the unit is split
  Dwarf_Die functions;  // has the functions
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
  RangeMap unit_ranges;
  std::unordered_map<const void*, FunctionName> names;  // by the DIE that bears the name
  std::unordered_map<const void*, std::string> prefixes;  // of functions in scopes: "crate::module::"
  std::unordered_set<const void*> prefixed_units;

  ~Impl() { dwarf_end(dwarf); }

  void list_units() {
    // Not from .debug_aranges: clang writes none, and a mixture of compilers leaves it with some units only.
    Dwarf_CU* unit = nullptr;
    Dwarf_Die die;
    Dwarf_Die split;
    uint8_t type = 0;
    for (Dwarf_CU* next; dwarf_get_units(dwarf, unit, &next, nullptr, &type, &die, &split) == 0;) {
      unit = next;
      if (type != DW_UT_compile && type != DW_UT_skeleton) continue;
      const auto index = static_cast<uint32_t>(units.size());
      for (const Range& range : ranges_of(&die)) {
        if (is_code(range.begin)) unit_ranges.add(range.begin, range.end, index);
      }
      const bool is_split = type == DW_UT_skeleton && dwarf_tag(&split) == DW_TAG_compile_unit;
      Unit& added = units.emplace_back();
      added.lines = die;
      added.functions = is_split ? split : die;
    }
    unit_ranges.seal();
  }

  void add_function(Unit& unit, RangeMap& map, Dwarf_Die* die) {
    const auto ranges = ranges_of(die);
    if (ranges.empty()) return;
    const auto index = static_cast<uint32_t>(unit.scopes.size());
    for (const Range& range : ranges) {
      (is_code(range.begin) ? map : unit.dropped).add(range.begin, range.end, index);
    }
    unit.scopes.emplace_back().die = *die;
  }

  void list_functions(Unit& unit, Dwarf_Die* parent, int depth) {
    if (depth > kMaxDepth) return;
    for_each_child(parent, [&](Dwarf_Die* child) {
      const int tag = dwarf_tag(child);
      if (tag == DW_TAG_subprogram) add_function(unit, unit.tops, child);
      if (is_scope(tag)) list_functions(unit, child, depth + 1);
    });
  }

  // Functions inside functions: GNU C, OpenMP, members of local classes. Reading all of a unit for them is
  // worth it only for an address that no other function covers.
  void list_nested(Unit& unit, Dwarf_Die* parent, bool inside, int depth) {
    if (depth > kMaxDepth) return;
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
    }
    return unit.nested.find(address);
  }

  void list_calls(Unit& unit, Dwarf_Die* parent, std::vector<Scope::Call>& calls, int depth) {
    if (depth > kMaxDepth) return;
    for_each_child(parent, [&](Dwarf_Die* child) {
      const int tag = dwarf_tag(child);
      if (tag == DW_TAG_lexical_block) list_calls(unit, child, calls, depth + 1);
      if (tag != DW_TAG_inlined_subroutine) return;
      const auto index = static_cast<uint32_t>(unit.scopes.size());
      for (const Range& range : ranges_of(child)) calls.push_back({range, index});
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

  void list_prefixes(Dwarf_Die* parent, const std::string& prefix, int depth) {
    if (depth > kMaxDepth) return;
    for_each_child(parent, [&](Dwarf_Die* child) {
      const int tag = dwarf_tag(child);
      const bool function = tag == DW_TAG_subprogram;
      if (function && !prefix.empty()) prefixes.emplace(child->addr, prefix);
      if (!is_scope(tag) && !function) {
        if (tag == DW_TAG_lexical_block) list_prefixes(child, prefix, depth + 1);
        return;
      }
      const char* name = text(child, DW_AT_name);
      const char* shown = name ? name : tag == DW_TAG_namespace ? "(anonymous namespace)" : "(anonymous)";
      list_prefixes(child, prefix + shown + "::", depth + 1);
    });
  }

  std::string qualified_name(Dwarf_Die die, const char* name) {
    Dwarf_Die declaration = declaration_of(die);
    Dwarf_Die unit;
    if (dwarf_diecu(&declaration, &unit, nullptr, nullptr) == nullptr) return name;
    if (prefixed_units.insert(unit.addr).second) list_prefixes(&unit, "", 0);
    const auto found = prefixes.find(declaration.addr);
    return found == prefixes.end() ? name : found->second + name;
  }

  const FunctionName* name_of(Dwarf_Die die) {
    Dwarf_Attribute link;
    Dwarf_Die origin;
    // gcc names each copy of a constructor on its own.
    if (dwarf_hasattr(&die, DW_AT_linkage_name) || dwarf_attr(&die, DW_AT_abstract_origin, &link) == nullptr ||
        dwarf_formref_die(&link, &origin) == nullptr) {
      origin = die;
    }
    const auto [entry, added] = names.try_emplace(origin.addr);
    FunctionName& known = entry->second;
    if (!added) return &known;
    const char* name = text(&origin, DW_AT_name);
    const char* linkage = text(&origin, DW_AT_linkage_name);
    if (linkage == nullptr) linkage = text(&origin, DW_AT_MIPS_linkage_name);
    // C has no other linkage names; what other languages leave out cannot be known.
    Dwarf_Die unit;
    if (linkage == nullptr && dwarf_diecu(&origin, &unit, nullptr, nullptr) && is_c(&unit)) linkage = name;
    if (name != nullptr) known.debug_name = name;
    if (linkage != nullptr) {
      known.raw = linkage;
      known.function = demangle(known.raw);
    } else if (name != nullptr) {
      known.function = qualified_name(origin, name);
    }
    return &known;
  }

  void set_line(Unit& unit, uint64_t address, SourceFrame& frame) {
    // libdw sorts the lines of a unit by address. Dropped functions start at 0 or so; where a long one reaches
    // into the code, a line may belong to either.
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
  if (impl->units.empty()) return nullptr;
  return std::unique_ptr<DwarfIndex>(new DwarfIndex(std::move(impl)));
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
    frames[i].name = impl_->name_of(die);
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
  return {{.name = impl_->name_of(die),
           .file = file_of(&die, DW_AT_decl_file),
           .line = number(&die, DW_AT_decl_line, true),
           .column = number(&die, DW_AT_decl_column, true),
           .inlined = false}};
}

}  // namespace asynctrace
