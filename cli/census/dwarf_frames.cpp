#include "cli/census/dwarf_frames.hpp"

#include <span>

namespace asynctrace {
namespace {

// `parent` belongs to scopes[at].
void descend(Dwarf_Die parent, uint64_t pc, std::vector<Scope>& scopes, size_t at, int depth) {
  if (depth > kMaxDieDepth) return;
  for_each_child(&parent, [&](Dwarf_Die* child) {
    const int tag = dwarf_tag(child);
    const bool is_block = tag == DW_TAG_lexical_block;
    if (!is_block && tag != DW_TAG_inlined_subroutine) return;
    // Blocks without addresses stand for the whole of what they lie in.
    const bool has_addresses = dwarf_hasattr(child, DW_AT_low_pc) || dwarf_hasattr(child, DW_AT_ranges);
    if (has_addresses ? dwarf_haspc(child, pc) <= 0 : !is_block) return;
    if (is_block) scopes[at].blocks.push_back(*child);
    else scopes.push_back({*child, {*child}});
    descend(*child, pc, scopes, is_block ? at : scopes.size() - 1, depth + 1);
  });
}

std::optional<uint64_t> register_of(const FrameState& state, uint64_t number) {
  return number < state.registers.size() ? state.registers[number] : std::nullopt;
}

std::optional<Location> evaluate(std::span<const Dwarf_Op> operations, const FrameState& state,
                                 std::optional<uint64_t> base) {
  if (operations.empty()) return std::nullopt;
  const auto [atom, number, number2, offset] = operations.front();
  std::optional<uint64_t> value;
  bool is_address = true;
  if (atom == DW_OP_fbreg) {
    if (base) value = *base + number;
  } else if (atom >= DW_OP_breg0 && atom <= DW_OP_breg31) {
    if (const auto from = register_of(state, atom - DW_OP_breg0)) value = *from + number;
  } else if (atom >= DW_OP_reg0 && atom <= DW_OP_reg31) {
    value = register_of(state, atom - DW_OP_reg0);
    is_address = false;
  } else if (atom == DW_OP_call_frame_cfa) {
    value = state.canonical_address;
  }
  for (const Dwarf_Op& operation : operations.subspan(1)) {
    if (!value || !is_address) return std::nullopt;
    if (operation.atom == DW_OP_plus_uconst) {
      *value += operation.number;
    } else if (operation.atom == DW_OP_stack_value) {
      is_address = false;
    } else {
      return std::nullopt;
    }
  }
  if (!value) return std::nullopt;
  return Location{*value, is_address};
}

std::optional<Location> evaluate(Dwarf_Die die, unsigned attribute, const FrameState& state,
                                 std::optional<uint64_t> base) {
  Dwarf_Attribute found;
  Dwarf_Op* operations = nullptr;
  size_t count = 0;
  if (dwarf_attr_integrate(&die, attribute, &found) == nullptr ||
      dwarf_getlocation_addr(&found, state.pc, &operations, &count, 1) != 1)
    return std::nullopt;
  return evaluate(std::span(operations, count), state, base);
}

}  // namespace

std::vector<Scope> scopes_at(Dwarf_Die function, uint64_t pc) {
  std::vector<Scope> scopes = {{function, {function}}};
  descend(function, pc, scopes, 0, 0);
  return scopes;
}

std::optional<Location> location_of(Dwarf_Die variable, Dwarf_Die function, const FrameState& state) {
  // A base in a register is what that register holds.
  const auto base = evaluate(function, DW_AT_frame_base, state, std::nullopt);
  return evaluate(variable, DW_AT_location, state, base ? std::optional(base->value) : std::nullopt);
}

}  // namespace asynctrace
