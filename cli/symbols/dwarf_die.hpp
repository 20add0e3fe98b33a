// Questions to one DIE, the node of DWARF's tree, which libdw answers only in several steps. Nothing here
// trusts the file: what is damaged reads as absent. Included by the dwarf_* files only, as libdw is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <dwarf.h>
#include <elfutils/libdw.h>

namespace asynctrace {

// Nesting of scopes in a damaged file is bounded only by its size; the stack is not.
inline constexpr int kMaxDieDepth = 256;

struct CodeRange {
  uint64_t begin;
  uint64_t end;
};

// Addresses as in the file, empty ranges left out.
std::vector<CodeRange> ranges_of(Dwarf_Die* die);

template <typename Visit>
void for_each_child(Dwarf_Die* die, Visit visit) {
  Dwarf_Die child;
  if (dwarf_child(die, &child) != 0) return;
  do {
    visit(&child);
  } while (dwarf_siblingof(&child, &child) == 0);
}

// visit(DW_UT_* type, Dwarf_Die* unit, Dwarf_Die* split) for every unit of the file, not from .debug_aranges:
// clang writes none, and a mixture of compilers leaves it with some units only. `split` is the whole unit of
// a skeleton where that is found: then its tag is DW_TAG_compile_unit.
template <typename Visit>
void for_each_unit(Dwarf* dwarf, Visit visit) {
  Dwarf_CU* unit = nullptr;
  Dwarf_Die die;
  Dwarf_Die split;
  uint8_t type = 0;
  for (Dwarf_CU* next; dwarf_get_units(dwarf, unit, &next, nullptr, &type, &die, &split) == 0; unit = next)
    visit(type, &die, &split);
}

// A namespace or a type: it may hold functions and qualifies their names.
bool is_scope(int tag);

// 0: absent. `through_origin` looks into the abstract origin and the specification as well.
uint32_t number(Dwarf_Die* die, unsigned attribute, bool through_origin = false);

// Looks into the abstract origin and the specification as well. Null: absent. Lives as long as the Dwarf.
const char* text(Dwarf_Die* die, unsigned attribute);

// `path` joined to the compilation directory of `unit`. Empty where the path is unknown; relative only where
// the directory is unknown or relative.
std::string absolute(const char* path, Dwarf_Die* unit);

// The file of DW_AT_call_file or DW_AT_decl_file, as absolute().
std::string file_of(Dwarf_Die* die, unsigned attribute);

// The declaration a function goes back to: it stands in the scopes that qualify its name.
Dwarf_Die declaration_of(Dwarf_Die die);

bool is_c(Dwarf_Die* unit);

}  // namespace asynctrace
