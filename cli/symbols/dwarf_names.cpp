#include "cli/symbols/dwarf_names.hpp"

#include "cli/symbols/demangle.hpp"

namespace asynctrace {

void DwarfNames::list_prefixes(Dwarf_Die* parent, const std::string& prefix, int depth) {
  if (depth > kMaxDieDepth) return;
  for_each_child(parent, [&](Dwarf_Die* child) {
    const int tag = dwarf_tag(child);
    const bool function = tag == DW_TAG_subprogram;
    if (function && !prefix.empty()) prefixes_.emplace(child->addr, prefix);
    if (!is_scope(tag) && !function) {
      if (tag == DW_TAG_lexical_block) list_prefixes(child, prefix, depth + 1);
      return;
    }
    const char* name = text(child, DW_AT_name);
    const char* shown = name ? name : tag == DW_TAG_namespace ? "(anonymous namespace)" : "(anonymous)";
    list_prefixes(child, prefix + shown + "::", depth + 1);
  });
}

std::string DwarfNames::qualified_name(Dwarf_Die die, const char* name) {
  Dwarf_Die declaration = declaration_of(die);
  Dwarf_Die unit;
  if (dwarf_diecu(&declaration, &unit, nullptr, nullptr) == nullptr) return name;
  if (prefixed_units_.insert(unit.addr).second) list_prefixes(&unit, "", 0);
  const auto found = prefixes_.find(declaration.addr);
  return found == prefixes_.end() ? name : found->second + name;
}

const FunctionName* DwarfNames::name_of(Dwarf_Die die) {
  Dwarf_Attribute link;
  Dwarf_Die origin;
  // gcc names each copy of a constructor on its own.
  if (dwarf_hasattr(&die, DW_AT_linkage_name) || dwarf_attr(&die, DW_AT_abstract_origin, &link) == nullptr ||
      dwarf_formref_die(&link, &origin) == nullptr) {
    origin = die;
  }
  const auto [entry, added] = names_.try_emplace(origin.addr);
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

}  // namespace asynctrace
