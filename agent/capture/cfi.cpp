#include "agent/capture/cfi.hpp"

#include <string.h>

#include <span>

namespace asynctrace::agent {
namespace {

// DWARF numbers of the x86-64 registers used here.
constexpr uint64_t kFramePointerRegister = 6;
constexpr uint64_t kStackPointerRegister = 7;
constexpr uint64_t kReturnAddressRegister = 16;

// Pointer encodings of .eh_frame (DW_EH_PE_*).
constexpr uint8_t kOmit = 0xff;
constexpr uint8_t kIndirect = 0x80;
constexpr uint8_t kPcRelative = 0x10;
constexpr uint8_t kDataRelative = 0x30;
constexpr uint8_t kSData4 = 0x0b;

// A bounded reader: past its end it gives zeros and remembers that it failed.
struct Cursor {
  const unsigned char* at;
  const unsigned char* end;
  bool failed = false;

  bool more() const { return at < end && !failed; }

  template <typename T>
  T fixed() {
    T value{};
    if (static_cast<size_t>(end - at) < sizeof(T)) return failed = true, value;
    memcpy(&value, at, sizeof(T));
    at += sizeof(T);
    return value;
  }

  uint64_t uleb() {
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto byte = fixed<uint8_t>();
      if (shift < 64) value |= uint64_t{byte & 0x7fu} << shift;
      if ((byte & 0x80) == 0 || failed) return value;
    }
  }

  int64_t sleb() {
    int64_t value = 0;
    unsigned shift = 0;
    uint8_t byte;
    do {
      byte = fixed<uint8_t>();
      if (shift < 64) value |= static_cast<int64_t>(byte & 0x7fu) << shift;
      shift += 7;
    } while ((byte & 0x80) != 0 && !failed);
    if (shift < 64 && (byte & 0x40) != 0) value |= -(int64_t{1} << shift);
    return value;
  }

  void skip(uint64_t count) {
    if (count > static_cast<uint64_t>(end - at)) failed = true;
    else at += count;
  }

  uint64_t pointer(uint8_t encoding, uint64_t data_base = 0) {
    const auto place = reinterpret_cast<uint64_t>(at);
    uint64_t value;
    switch (encoding & 0x0f) {
      case 0x00:
      case 0x04:
      case 0x0c: value = fixed<uint64_t>(); break;
      case 0x01: value = uleb(); break;
      case 0x09: value = static_cast<uint64_t>(sleb()); break;
      case 0x02: value = fixed<uint16_t>(); break;
      case 0x0a: value = static_cast<uint64_t>(int64_t{fixed<int16_t>()}); break;
      case 0x03: value = fixed<uint32_t>(); break;
      case kSData4: value = static_cast<uint64_t>(int64_t{fixed<int32_t>()}); break;
      default: failed = true; return 0;
    }
    switch (encoding & 0x70) {
      case 0: break;
      case kPcRelative: value += place; break;
      case kDataRelative: value += data_base; break;
      default: failed = true; return 0;
    }
    if ((encoding & kIndirect) != 0) failed = true;  // not used for code ranges
    return value;
  }
};

Cursor entry_at(const unsigned char* start) {
  uint32_t length;
  memcpy(&length, start, sizeof(length));
  if (length == 0 || length == 0xffffffff) return {start, start};
  return {start + 4, start + 4 + length};
}

struct Cie {
  uint64_t code_alignment = 1;
  int64_t data_alignment = 1;
  uint8_t pointer_encoding = 0;
  bool has_augmentation = false;
  bool signal_frame = false;
  Cursor instructions{nullptr, nullptr};
};

bool parse_cie(const unsigned char* start, Cie& cie) {
  Cursor in = entry_at(start);
  in.fixed<uint32_t>();  // id
  const auto version = in.fixed<uint8_t>();
  const char* augmentation = reinterpret_cast<const char*>(in.at);
  in.skip(strnlen(augmentation, static_cast<size_t>(in.end - in.at)) + 1);
  cie.code_alignment = in.uleb();
  cie.data_alignment = in.sleb();
  const uint64_t return_register = version == 1 ? in.fixed<uint8_t>() : in.uleb();
  if (in.failed || return_register != kReturnAddressRegister) return false;
  if (*augmentation == 'z') {
    cie.has_augmentation = true;
    const uint64_t length = in.uleb();
    Cursor data = in;
    in.skip(length);
    for (const char* letter = augmentation + 1; *letter != '\0'; letter++) {
      if (*letter == 'R') cie.pointer_encoding = data.fixed<uint8_t>();
      else if (*letter == 'P') data.skip((data.fixed<uint8_t>() & 0x07) == 0x03 ? 4 : 8);
      else if (*letter == 'L') data.fixed<uint8_t>();
      else if (*letter == 'S') cie.signal_frame = true;
      else return false;
    }
  }
  cie.instructions = in;
  return !in.failed;
}

struct Fde {
  FunctionRange range{};
  Cie cie;
  Cursor instructions{nullptr, nullptr};
};

bool parse_fde(const unsigned char* start, Fde& fde) {
  Cursor in = entry_at(start);
  const unsigned char* id_at = in.at;
  const auto cie_distance = in.fixed<uint32_t>();
  if (in.failed || cie_distance == 0 || !parse_cie(id_at - cie_distance, fde.cie)) return false;
  fde.range.start = in.pointer(fde.cie.pointer_encoding);
  fde.range.end = fde.range.start + in.pointer(fde.cie.pointer_encoding & 0x0f);
  if (fde.cie.has_augmentation) in.skip(in.uleb());
  fde.instructions = in;
  return !in.failed;
}

// Binary search of .eh_frame_hdr's table of (function start, entry), both relative to the header.
const unsigned char* find_entry(const LoadedModule& module, uint64_t address) {
  const unsigned char* header = module.eh_frame_hdr;
  if (header == nullptr || header[0] != 1) return nullptr;
  const uint8_t count_encoding = header[2];
  if (header[3] != (kDataRelative | kSData4) || count_encoding == kOmit) return nullptr;
  const auto base = reinterpret_cast<uint64_t>(header);
  Cursor in{header + 4, header + 4 + 32};
  in.pointer(header[1], base);
  const uint64_t count = in.pointer(count_encoding, base);
  if (in.failed || count == 0) return nullptr;
  struct Row {
    int32_t start;
    int32_t entry;
  };
  const auto* rows = reinterpret_cast<const Row*>(in.at);
  const auto target = static_cast<int64_t>(address - base);
  uint64_t low = 0, high = count;  // rows[low].start <= target < rows[high].start
  if (target < rows[0].start) return nullptr;
  while (high - low > 1) {
    const uint64_t middle = (low + high) / 2;
    (rows[middle].start <= target ? low : high) = middle;
  }
  return header + rows[low].entry;
}

bool find_fde(const LoadedModule& module, uint64_t address, Fde& fde) {
  const unsigned char* entry = find_entry(module, address);
  return entry != nullptr && parse_fde(entry, fde) && address >= fde.range.start && address < fde.range.end;
}

// Small, for it lies on the stack of a hook. A number that does not fit gives a rule that libunwind does not
// agree with.
struct Row {
  uint32_t cfa_register = 0;
  int32_t cfa_offset = 0;
  int32_t frame_pointer_at = 0;
  bool cfa_plain = false;
  bool return_address_plain = false;
  enum class Saved : uint8_t { kUnchanged, kAtOffset, kOther } frame_pointer = Saved::kUnchanged;
};

class Machine {
 public:
  Machine(const Cie& cie, uint64_t location, uint64_t target)
      : cie_(cie), location_(location), target_(target) {}

  // False: met something that it does not know.
  bool run(Cursor in, bool initial) {
    while (in.more()) {
      const auto opcode = in.fixed<uint8_t>();
      const uint64_t low = opcode & 0x3f;
      switch (opcode & 0xc0) {
        case 0x40:
          if (!advance(low)) return true;
          continue;
        case 0x80: set_offset(low, static_cast<int64_t>(in.uleb()) * cie_.data_alignment); continue;
        case 0xc0: restore(low); continue;
        default: break;
      }
      bool past_target = false;
      if (!run_extended(in, opcode, past_target)) return false;
      if (past_target) return true;
    }
    if (initial) initial_ = row;
    return !in.failed;
  }

  Row row;

 private:
  bool advance(uint64_t delta) {
    location_ += delta * cie_.code_alignment;
    return location_ <= target_;
  }

  void set_offset(uint64_t reg, int64_t offset) {
    if (reg == kFramePointerRegister)
      row.frame_pointer = Row::Saved::kAtOffset, row.frame_pointer_at = static_cast<int32_t>(offset);
    else if (reg == kReturnAddressRegister) row.return_address_plain = offset == -8;
  }

  void set_other(uint64_t reg) {
    if (reg == kFramePointerRegister) row.frame_pointer = Row::Saved::kOther;
    else if (reg == kReturnAddressRegister) row.return_address_plain = false;
  }

  void restore(uint64_t reg) {
    if (reg == kFramePointerRegister) {
      row.frame_pointer = initial_.frame_pointer;
      row.frame_pointer_at = initial_.frame_pointer_at;
    } else if (reg == kReturnAddressRegister) {
      row.return_address_plain = initial_.return_address_plain;
    }
  }

  void set_cfa(uint64_t reg, int64_t offset) {
    row.cfa_register = static_cast<uint32_t>(reg);
    row.cfa_offset = static_cast<int32_t>(offset);
    row.cfa_plain = true;
  }

  bool run_extended(Cursor& in, uint8_t opcode, bool& past_target) {
    switch (opcode) {
      case 0x00: return true;  // nop
      case 0x01:
        location_ = in.pointer(cie_.pointer_encoding);
        past_target = location_ > target_;
        return true;
      case 0x02: past_target = !advance(in.fixed<uint8_t>()); return true;  // advance_loc1
      case 0x03: past_target = !advance(in.fixed<uint16_t>()); return true;
      case 0x04: past_target = !advance(in.fixed<uint32_t>()); return true;
      case 0x05: {
        const auto r = in.uleb();
        set_offset(r, static_cast<int64_t>(in.uleb()) * cie_.data_alignment);
        return true;
      }
      case 0x06: restore(in.uleb()); return true;
      case 0x07: set_other(in.uleb()); return true;  // undefined
      case 0x08: {                                   // same_value
        const auto r = in.uleb();
        if (r == kFramePointerRegister) row.frame_pointer = Row::Saved::kUnchanged;
        return true;
      }
      case 0x09:
        set_other(in.uleb());
        in.uleb();
        return true;  // register
      case 0x0a:
        if (depth_ == kStates) return false;
        states_[depth_++] = row;
        return true;
      case 0x0b:
        if (depth_ == 0) return false;
        row = states_[--depth_];
        return true;
      case 0x0c: {
        const auto r = in.uleb();
        set_cfa(r, static_cast<int64_t>(in.uleb()));
        return true;
      }
      case 0x0d: row.cfa_register = static_cast<uint32_t>(in.uleb()); return true;
      case 0x0e: row.cfa_offset = static_cast<int32_t>(in.uleb()); return true;
      case 0x0f:
        row.cfa_plain = false;
        in.skip(in.uleb());
        return true;  // def_cfa_expression
      case 0x10:
      case 0x16:
        set_other(in.uleb());
        in.skip(in.uleb());
        return true;  // expressions
      case 0x11: {
        const auto r = in.uleb();
        set_offset(r, in.sleb() * cie_.data_alignment);
        return true;
      }
      case 0x12: {
        const auto r = in.uleb();
        set_cfa(r, in.sleb() * cie_.data_alignment);
        return true;
      }
      case 0x13: row.cfa_offset = static_cast<int32_t>(in.sleb() * cie_.data_alignment); return true;
      case 0x14:
      case 0x15:
        set_other(in.uleb());
        in.uleb();
        return true;                      // val_offset
      case 0x2e: in.uleb(); return true;  // GNU_args_size
      default: return false;
    }
  }

  // Compilers nest no deeper than one, and this lies on the stack of a hook.
  static constexpr int kStates = 1;
  const Cie& cie_;
  uint64_t location_;
  uint64_t target_;
  Row initial_;
  Row states_[kStates];
  int depth_ = 0;
};

// Not inlined: what this needs of the stack is free again while the entry is looked up.
__attribute__((noinline)) FrameRule rule_at(const Fde& fde, uint64_t target) {
  FrameRule rule;
  Machine machine(fde.cie, fde.range.start, target);
  if (!machine.run(fde.cie.instructions, true) || !machine.run(fde.instructions, false)) return rule;
  const Row& row = machine.row;
  if (row.cfa_register == kStackPointerRegister) rule.base = FrameRule::Base::kStackPointer;
  else if (row.cfa_register == kFramePointerRegister) rule.base = FrameRule::Base::kFramePointer;
  rule.cfa_offset = row.cfa_offset;
  rule.saves_frame_pointer = row.frame_pointer == Row::Saved::kAtOffset;
  rule.saved_at = row.frame_pointer_at;
  rule.plain = row.cfa_plain && rule.base != FrameRule::Base::kOther && row.return_address_plain &&
               row.frame_pointer != Row::Saved::kOther;
  return rule;
}

}  // namespace

bool find_function(const LoadedModule& module, uint64_t address, FunctionRange& range) {
  Fde fde;
  if (!find_fde(module, address, fde)) return false;
  range = fde.range;
  return true;
}

bool has_unwind_table(uint64_t pc) {
  const LoadedModule* module = find_module(pc - 1);
  FunctionRange range;
  return module != nullptr && is_mapped(*module) && find_function(*module, pc - 1, range);
}

FrameRule frame_rule(uint64_t pc) {
  const uint64_t target = pc - 1;  // the call, not what follows it
  const LoadedModule* module = find_module(target);
  Fde fde;
  if (module == nullptr || !is_mapped(*module) || !find_fde(*module, target, fde) || fde.cie.signal_frame)
    return {};
  return rule_at(fde, target);
}

}  // namespace asynctrace::agent
