#include "cli/coroutines/frame_code.hpp"

#include <capstone/capstone.h>
#include <gelf.h>

#include <algorithm>
#include <array>
#include <memory>

#include "cli/symbols/elf_pointers.hpp"

namespace asynctrace {
namespace {

constexpr uint64_t kHeader = 16;  // of a frame: two addresses
constexpr size_t kPrologue = 96;  // instructions; without optimization clang has one for each variable
constexpr size_t kWindow = 24;    // instructions that are kept after a store
constexpr uint64_t kMaxCode = 1 << 20;
constexpr uint64_t kMaxSmallFunction = 512;

class Disassembler {
 public:
  Disassembler() {
    if (cs_open(CS_ARCH_X86, CS_MODE_64, &handle_) != CS_ERR_OK) return;
    cs_option(handle_, CS_OPT_DETAIL, CS_OPT_ON);
    instruction_ = cs_malloc(handle_);
  }
  ~Disassembler() {
    if (instruction_ != nullptr) cs_free(instruction_, 1);
    cs_close(&handle_);
  }
  Disassembler(const Disassembler&) = delete;
  Disassembler& operator=(const Disassembler&) = delete;

  // Null: no instruction. Valid until the next call.
  const cs_insn* next(std::span<const uint8_t>& code, uint64_t& address) {
    const uint8_t* bytes = code.data();
    size_t size = code.size();
    if (instruction_ == nullptr || !cs_disasm_iter(handle_, &bytes, &size, &address, instruction_))
      return nullptr;
    code = code.last(size);
    return instruction_;
  }

  std::vector<uint16_t> written_registers(const cs_insn& instruction) const {
    cs_regs read, written;
    uint8_t reads = 0, writes = 0;
    if (cs_regs_access(handle_, &instruction, read, &reads, written, &writes) != CS_ERR_OK) return {};
    return {written, written + writes};
  }

 private:
  csh handle_ = 0;
  cs_insn* instruction_ = nullptr;
};

// A general register under whatever width; kNone: another one.
enum Register : uint8_t { kRax, kRbx, kRcx, kRdx, kRsi, kRdi, kRbp, kRsp, kR8, kNone = 16 };
Register register_of(uint32_t id) {
  constexpr std::array<std::array<x86_reg, 4>, 16> kNames = {{
      {X86_REG_RAX, X86_REG_EAX, X86_REG_AX, X86_REG_AL},
      {X86_REG_RBX, X86_REG_EBX, X86_REG_BX, X86_REG_BL},
      {X86_REG_RCX, X86_REG_ECX, X86_REG_CX, X86_REG_CL},
      {X86_REG_RDX, X86_REG_EDX, X86_REG_DX, X86_REG_DL},
      {X86_REG_RSI, X86_REG_ESI, X86_REG_SI, X86_REG_SIL},
      {X86_REG_RDI, X86_REG_EDI, X86_REG_DI, X86_REG_DIL},
      {X86_REG_RBP, X86_REG_EBP, X86_REG_BP, X86_REG_BPL},
      {X86_REG_RSP, X86_REG_ESP, X86_REG_SP, X86_REG_SPL},
      {X86_REG_R8, X86_REG_R8D, X86_REG_R8W, X86_REG_R8B},
      {X86_REG_R9, X86_REG_R9D, X86_REG_R9W, X86_REG_R9B},
      {X86_REG_R10, X86_REG_R10D, X86_REG_R10W, X86_REG_R10B},
      {X86_REG_R11, X86_REG_R11D, X86_REG_R11W, X86_REG_R11B},
      {X86_REG_R12, X86_REG_R12D, X86_REG_R12W, X86_REG_R12B},
      {X86_REG_R13, X86_REG_R13D, X86_REG_R13W, X86_REG_R13B},
      {X86_REG_R14, X86_REG_R14D, X86_REG_R14W, X86_REG_R14B},
      {X86_REG_R15, X86_REG_R15D, X86_REG_R15W, X86_REG_R15B},
  }};
  for (size_t i = 0; i < kNames.size(); ++i)
    if (std::ranges::find(kNames[i], id) != kNames[i].end()) return static_cast<Register>(i);
  return kNone;
}
constexpr Register kCallerSaved[] = {kRax,
                                     kRcx,
                                     kRdx,
                                     kRsi,
                                     kRdi,
                                     kR8,
                                     static_cast<Register>(9),
                                     static_cast<Register>(10),
                                     static_cast<Register>(11)};

// What is known of a register or a slot of the stack.
struct Value {
  enum Kind : uint8_t { kUnknown, kFrame, kConstant } kind = kUnknown;
  uint64_t number = 0;  // of kFrame: added to the frame's address
};

struct State {
  std::array<Value, 16> registers;
  std::map<std::pair<Register, int64_t>, Value> slots;  // by base register and displacement
};

bool is_jump(const cs_insn& instruction) {
  return std::ranges::count(std::span(instruction.detail->groups, instruction.detail->groups_count),
                            CS_GRP_JUMP) > 0;
}

std::optional<uint64_t> direct_target(const cs_insn& instruction) {
  const cs_x86& x86 = instruction.detail->x86;
  const bool is_branch = is_jump(instruction) || instruction.id == X86_INS_CALL;
  if (!is_branch || x86.op_count != 1 || x86.operands[0].type != X86_OP_IMM) return std::nullopt;
  return static_cast<uint64_t>(x86.operands[0].imm);
}

bool ends_block(const cs_insn& instruction) {
  return is_jump(instruction) || instruction.id == X86_INS_CALL || instruction.id == X86_INS_RET ||
         instruction.id == X86_INS_UD2;
}

class Reader {
 public:
  Reader(const CoroutineFunction& function, const ElfFile& file, uint64_t bias)
      : function_(function), file_(file), bias_(bias) {}

  FrameCode read() {
    state_.registers[kRdi] = {Value::kFrame, 0};
    read_prologue();
    at_entry_ = state_;
    sweep(function_.resume);
    for (size_t i = 0; i < function_.other_code.size(); ++i) {
      const bool is_ramp = i == 0 && function_.has_ramp;
      // What gcc's ramp stores into the frame is no suspension.
      if (is_ramp && function_.compiler == CoroutineCompiler::kGcc) continue;
      in_ramp_ = is_ramp;
      sweep(function_.other_code[i]);
    }
    // A variable of the body's own, where there is but one suspension.
    if (function_.compiler == CoroutineCompiler::kClang && function_.has_ramp && !stored_in_ramp_) {
      found_.index.reset();
      found_.stores.clear();
    }
    return std::move(found_);
  }

 private:
  std::span<const uint8_t> code_of(const AddressRange& range) const {
    return file_bytes(file_, range.start - bias_, std::min(range.end - range.start, kMaxCode));
  }

  // Up to the jump by the number of the suspension.
  void read_prologue() {
    uint64_t address = function_.resume.start;
    auto code = code_of(function_.resume);
    for (size_t i = 0; i < kPrologue; ++i) {
      const cs_insn* instruction = disassembler_.next(code, address);
      if (instruction == nullptr) return;
      if (!found_.index) look_for_index(*instruction);
      if (instruction->id == X86_INS_JMP) {
        const auto target = direct_target(*instruction);
        if (!target || !function_.resume.contains(*target)) return;
        address = *target;
        code = code_of({address, function_.resume.end});
        continue;
      }
      if (ends_block(*instruction)) return;
      follow(*instruction);
    }
  }

  void look_for_index(const cs_insn& instruction) {
    const cs_x86& x86 = instruction.detail->x86;
    for (const cs_x86_op& operand : std::span(x86.operands, x86.op_count)) {
      if (operand.type != X86_OP_MEM || (operand.access & CS_AC_WRITE) != 0 || operand.size > 2) continue;
      const auto offset = offset_in_frame(operand);
      if (offset && *offset >= kHeader) found_.index = FrameCode::Index{*offset, operand.size};
    }
  }

  void sweep(const AddressRange& range) {
    uint64_t address = range.start;
    auto code = code_of(range);
    state_ = at_entry_;
    steps_ = nullptr;
    while (const cs_insn* instruction = disassembler_.next(code, address)) {
      const auto target = direct_target(*instruction);
      const bool leaves = target && !range.contains(*target);
      if (leaves) found_.callees.insert(*target);
      if (function_.compiler == CoroutineCompiler::kClang)
        found_.all.push_back({instruction->address, leaves ? *target : 0});
      if (steps_ != nullptr) steps_->push_back({instruction->address, leaves ? *target : 0});
      if (steps_ != nullptr && steps_->size() >= kWindow) steps_ = nullptr;
      look_for_store(*instruction);
      follow(*instruction);
      // What comes next was jumped to from elsewhere, most likely from where the body begins.
      if (instruction->id != X86_INS_JMP && instruction->id != X86_INS_RET) continue;
      state_ = at_entry_;
      steps_ = nullptr;
    }
  }

  void look_for_store(const cs_insn& instruction) {
    const cs_x86& x86 = instruction.detail->x86;
    if (!found_.index || instruction.id != X86_INS_MOV || x86.op_count != 2 ||
        x86.operands[0].type != X86_OP_MEM || x86.operands[0].size != found_.index->size)
      return;
    auto offset = offset_in_frame(x86.operands[0]);
    // There the frame comes from an allocator; what is not on the stack is taken for it.
    const Register base = register_of(x86.operands[0].mem.base);
    if (in_ramp_ && base != kNone && base != kRbp && base != kRsp)
      offset = static_cast<uint64_t>(x86.operands[0].mem.disp);
    const Value value = value_of(x86.operands[1]);
    if (offset != found_.index->offset || value.kind != Value::kConstant) return;
    const uint64_t mask = (uint64_t{1} << (8 * found_.index->size)) - 1;
    auto& places = found_.stores[value.number & mask];
    stored_in_ramp_ |= in_ramp_;
    places.push_back({{instruction.address, 0}});
    steps_ = &places.back();
  }

  std::optional<uint64_t> offset_in_frame(const cs_x86_op& operand) const {
    const Register base = register_of(operand.mem.base);
    if (base == kNone || operand.mem.index != X86_REG_INVALID) return std::nullopt;
    const Value& value = state_.registers[base];
    if (value.kind != Value::kFrame) return std::nullopt;
    return value.number + static_cast<uint64_t>(operand.mem.disp);
  }

  Value value_of(const cs_x86_op& operand) const {
    if (operand.type == X86_OP_IMM) return {Value::kConstant, static_cast<uint64_t>(operand.imm)};
    if (operand.type == X86_OP_REG) {
      const Register source = register_of(operand.reg);
      return source == kNone ? Value{} : state_.registers[source];
    }
    const Register base = register_of(operand.mem.base);
    if (operand.type != X86_OP_MEM || operand.size != 8 || operand.mem.index != X86_REG_INVALID) return {};
    const auto slot = state_.slots.find({base, operand.mem.disp});
    return slot == state_.slots.end() ? Value{} : slot->second;
  }

  Value address_of(const cs_insn& instruction, const cs_x86_op& operand) const {
    if (operand.mem.index != X86_REG_INVALID) return {};
    if (operand.mem.base == X86_REG_RIP)
      return {Value::kConstant,
              instruction.address + instruction.size + static_cast<uint64_t>(operand.mem.disp)};
    const auto offset = offset_in_frame(operand);
    return offset ? Value{Value::kFrame, *offset} : Value{};
  }

  void follow(const cs_insn& instruction) {
    const cs_x86& x86 = instruction.detail->x86;
    if (instruction.id == X86_INS_CALL) {
      for (const Register lost : kCallerSaved) state_.registers[lost] = {};
      return;
    }
    Value result;
    const bool has_two = x86.op_count == 2;
    const cs_x86_op &to = x86.operands[0], &from = x86.operands[1];
    if (has_two && (instruction.id == X86_INS_MOV || instruction.id == X86_INS_MOVABS)) {
      result = value_of(from);
      if (to.type == X86_OP_MEM) {
        const Register base = register_of(to.mem.base);
        if ((base == kRbp || base == kRsp) && to.mem.index == X86_REG_INVALID)
          state_.slots[{base, to.mem.disp}] = result;
        return;
      }
    } else if (has_two && instruction.id == X86_INS_LEA) {
      result = address_of(instruction, from);
    } else if (has_two && instruction.id == X86_INS_XOR && to.type == X86_OP_REG && from.type == X86_OP_REG &&
               to.reg == from.reg) {
      result = {Value::kConstant, 0};
    } else if (has_two && instruction.id == X86_INS_ADD && to.type == X86_OP_REG && from.type == X86_OP_IMM) {
      result = value_of(to);
      if (result.kind != Value::kUnknown) result.number += static_cast<uint64_t>(from.imm);
    }
    for (const uint16_t written : disassembler_.written_registers(instruction))
      if (const Register target = register_of(written); target != kNone && target != kRsp)
        state_.registers[target] = {};
    if (has_two && to.type == X86_OP_REG)
      if (const Register target = register_of(to.reg); target != kNone) state_.registers[target] = result;
  }

  const CoroutineFunction& function_;
  const ElfFile& file_;
  uint64_t bias_;
  Disassembler disassembler_;
  State state_, at_entry_;
  bool in_ramp_ = false, stored_in_ramp_ = false;
  std::vector<FrameCode::Step>* steps_ = nullptr;  // after the last store
  FrameCode found_;
};

}  // namespace

std::vector<uint64_t> direct_callees(uint64_t function, const ElfFile& file, uint64_t bias) {
  Disassembler disassembler;
  uint64_t address = function;
  auto code = file_bytes(file, function - bias, kMaxSmallFunction);
  std::vector<uint64_t> callees;
  while (const cs_insn* instruction = disassembler.next(code, address)) {
    const auto target = direct_target(*instruction);
    if (target && instruction->id == X86_INS_CALL) callees.push_back(*target);
    if (instruction->id == X86_INS_RET) break;
  }
  return callees;
}

FrameCode read_frame_code(const CoroutineFunction& function, const ElfFile& file, uint64_t bias) {
  GElf_Ehdr header;
  if (gelf_getehdr(file.handle(), &header) == nullptr || header.e_machine != EM_X86_64) return {};
  return Reader(function, file, bias).read();
}

}  // namespace asynctrace
