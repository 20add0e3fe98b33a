// DwarfNames: function or inlined call in debug info -> its names, each worked out once. Not thread-safe.
// Allocates; the names live as long as this object.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>

#include "cli/symbols/dwarf_die.hpp"
#include "cli/symbols/dwarf_index.hpp"

namespace asynctrace {

class DwarfNames {
 public:
  const FunctionName* name_of(Dwarf_Die die);

 private:
  std::string qualified_name(Dwarf_Die die, const char* name);
  void list_prefixes(Dwarf_Die* parent, const std::string& prefix, int depth);

  std::unordered_map<const void*, FunctionName> names_;    // by the DIE that bears the name
  std::unordered_map<const void*, std::string> prefixes_;  // of functions in scopes: "crate::module::"
  std::unordered_set<const void*> prefixed_units_;
};

}  // namespace asynctrace
