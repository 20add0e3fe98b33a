// The functions of one native frame by debug info, inlined ones included, and what those called block_on keep
// on the stack. Reads registers and memory as given; trusts nothing in the file. Allocates.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cli/census/types.hpp"
#include "cli/symbols/dwarf_die.hpp"

namespace asynctrace {

// `function` and the calls inlined into it that `pc` lies in, outermost first.
struct Scope {
  Dwarf_Die function;
  std::vector<Dwarf_Die> blocks;  // of its own variables, itself included
};
std::vector<Scope> scopes_at(Dwarf_Die function, uint64_t pc);

// A value that lies at an address, or that is one.
struct Location {
  uint64_t value = 0;
  bool is_address = false;  // of the value
};
// Of a variable of the physical function `function`, `state.pc` being as in the file; nothing: it has none
// here, or none that is understood.
std::optional<Location> location_of(Dwarf_Die variable, Dwarf_Die function, const FrameState& state);

}  // namespace asynctrace
