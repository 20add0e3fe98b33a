#include "cli/symbols/dwarf_die.hpp"

#include <string_view>

namespace asynctrace {

namespace {

constexpr int kMaxReferences = 16;

}  // namespace

std::vector<CodeRange> ranges_of(Dwarf_Die* die) {
  std::vector<CodeRange> ranges;
  Dwarf_Addr base = 0;
  Dwarf_Addr begin = 0;
  Dwarf_Addr end = 0;
  for (ptrdiff_t at = 0; (at = dwarf_ranges(die, at, &base, &begin, &end)) > 0;) {
    if (begin < end) ranges.push_back({begin, end});
  }
  return ranges;
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

uint32_t number(Dwarf_Die* die, unsigned attribute, bool through_origin) {
  Dwarf_Attribute found;
  Dwarf_Word value = 0;
  const auto* at =
      through_origin ? dwarf_attr_integrate(die, attribute, &found) : dwarf_attr(die, attribute, &found);
  if (at == nullptr || dwarf_formudata(&found, &value) != 0 || value > INT32_MAX) return 0;
  return static_cast<uint32_t>(value);
}

const char* text(Dwarf_Die* die, unsigned attribute) {
  Dwarf_Attribute found;
  if (dwarf_attr_integrate(die, attribute, &found) == nullptr) return nullptr;
  return dwarf_formstring(&found);
}

std::string absolute(const char* path, Dwarf_Die* unit) {
  if (path == nullptr || *path == '\0' || std::string_view(path) == "???") return {};
  const char* folder = *path == '/' ? nullptr : text(unit, DW_AT_comp_dir);
  return folder == nullptr || *folder == '\0' ? path : std::string(folder) + '/' + path;
}

// The number counts in the file table of the unit it stands in, which may be another than the DIE's.
std::string file_of(Dwarf_Die* die, unsigned attribute) {
  Dwarf_Attribute found;
  Dwarf_Word index = 0;
  if (dwarf_attr_integrate(die, attribute, &found) == nullptr || dwarf_formudata(&found, &index) != 0)
    return {};
  Dwarf_Die unit;
  Dwarf_Files* files = nullptr;
  size_t count = 0;
  if (dwarf_cu_die(found.cu, &unit, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr) == nullptr ||
      dwarf_getsrcfiles(&unit, &files, &count) != 0 || index >= count) {
    return {};
  }
  return absolute(dwarf_filesrc(files, index, nullptr, nullptr), &unit);
}

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

}  // namespace asynctrace
