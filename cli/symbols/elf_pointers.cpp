#include "cli/symbols/elf_pointers.hpp"

#include <elf.h>
#include <gelf.h>

#include <algorithm>
#include <cstring>

namespace asynctrace {
namespace {

constexpr uint32_t kPackedRelocations = 19;  // SHT_RELR, which elf.h of Debian 12 does not have

struct Machine {
  unsigned number, relative, absolute;
};
constexpr Machine kMachines[] = {{EM_X86_64, R_X86_64_RELATIVE, R_X86_64_64},
                                 {EM_AARCH64, R_AARCH64_RELATIVE, R_AARCH64_ABS64}};

class Image {
 public:
  explicit Image(const ElfFile& file) : file_(file), elf_(file.handle()) {
    bytes_ = elf_rawfile(elf_, &size_);
    GElf_Ehdr header;
    if (bytes_ == nullptr || gelf_getehdr(elf_, &header) == nullptr ||
        header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB)
      return;
    const auto* row = std::ranges::find(kMachines, header.e_machine, &Machine::number);
    if (row == std::end(kMachines)) return;
    machine_ = row;
    is_movable_ = header.e_type == ET_DYN;
    size_t count = 0;
    if (elf_getphdrnum(elf_, &count) != 0) return;
    for (size_t i = 0; i < count; ++i) {
      GElf_Phdr part;
      if (gelf_getphdr(elf_, static_cast<int>(i), &part) == nullptr || part.p_type != PT_LOAD) continue;
      const bool fits = part.p_offset <= size_ && part.p_filesz <= size_ - part.p_offset &&
                        part.p_filesz <= UINT64_MAX - part.p_vaddr;
      if (fits) ((part.p_flags & PF_X) == 0 ? data_ : code_).push_back(part);
    }
  }

  std::optional<uint64_t> word(uint64_t address) const { return word(address, data_); }

  std::span<const uint8_t> bytes(uint64_t address, uint64_t size) const {
    for (const auto* parts : {&code_, &data_}) {
      for (const GElf_Phdr& part : *parts) {
        const uint64_t offset = address - part.p_vaddr;
        if (address < part.p_vaddr || offset >= part.p_filesz) continue;
        const auto* first = reinterpret_cast<const uint8_t*>(bytes_ + part.p_offset + offset);
        return {first, std::min(size, part.p_filesz - offset)};
      }
    }
    return {};
  }

  // x86-64: jmp with a distance of 32 bits.
  std::optional<uint64_t> jump_target(uint64_t function) const {
    constexpr uint64_t kJump = 0xe9, kLength = 5;
    const auto code =
        machine_ != nullptr && machine_->number == EM_X86_64 ? word(function, code_) : std::nullopt;
    if (!code || (*code & 0xff) != kJump) return std::nullopt;
    return function + kLength + static_cast<uint64_t>(int64_t{static_cast<int32_t>(*code >> 8)});
  }

  std::vector<CodePointer> pointers() {
    if (machine_ == nullptr) return {};
    if (!is_movable_) add_plain_words();
    for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf_, section)) != nullptr;) {
      GElf_Shdr header;
      if (gelf_getshdr(section, &header) == nullptr || (header.sh_flags & SHF_ALLOC) == 0) continue;
      if (header.sh_type == SHT_RELA) add_relocations(section, header);
      if (header.sh_type == kPackedRelocations) add_packed(section);
    }
    std::ranges::sort(found_, {}, &CodePointer::slot);
    return std::move(found_);
  }

 private:
  std::optional<uint64_t> word(uint64_t address, const std::vector<GElf_Phdr>& parts) const {
    for (const GElf_Phdr& part : parts) {
      const uint64_t offset = address - part.p_vaddr;
      if (address >= part.p_vaddr && offset < part.p_filesz && part.p_filesz - offset >= sizeof(uint64_t))
        return word_at(part.p_offset + offset);
    }
    return std::nullopt;
  }

  uint64_t word_at(uint64_t offset) const {
    uint64_t value;
    std::memcpy(&value, bytes_ + offset, sizeof value);
    return value;
  }

  void add(uint64_t slot, uint64_t target) {
    if (file_.is_code(target)) found_.push_back({slot, target});
  }

  void add_plain_words() {
    for (const GElf_Phdr& part : data_) {
      const uint64_t first = (8 - part.p_vaddr % 8) % 8;
      for (uint64_t at = first; at < part.p_filesz && part.p_filesz - at >= sizeof(uint64_t); at += 8)
        add(part.p_vaddr + at, word_at(part.p_offset + at));
    }
  }

  void add_relocations(Elf_Scn* section, const GElf_Shdr& header) {
    Elf_Data* entries = elf_getdata(section, nullptr);
    if (entries == nullptr) return;
    GElf_Shdr linked;
    Elf_Scn* names = elf_getscn(elf_, header.sh_link);
    const bool has_symbols = names != nullptr && gelf_getshdr(names, &linked) != nullptr &&
                             (linked.sh_type == SHT_DYNSYM || linked.sh_type == SHT_SYMTAB);
    Elf_Data* symbols = has_symbols ? elf_getdata(names, nullptr) : nullptr;
    GElf_Rela entry;
    for (int i = 0; gelf_getrela(entries, i, &entry) != nullptr; ++i) {
      const auto addend = static_cast<uint64_t>(entry.r_addend);
      const uint64_t type = GELF_R_TYPE(entry.r_info);
      GElf_Sym symbol;
      if (type == machine_->relative) {
        add(entry.r_offset, addend);
      } else if (type == machine_->absolute && symbols != nullptr &&
                 gelf_getsym(symbols, static_cast<int>(GELF_R_SYM(entry.r_info)), &symbol) != nullptr) {
        add(entry.r_offset, symbol.st_value + addend);
      }
    }
  }

  // An even word is the address of a slot; an odd one has a bit for each of the 63 slots that follow.
  void add_packed(Elf_Scn* section) {
    Elf_Data* data = elf_rawdata(section, nullptr);
    if (data == nullptr) return;
    uint64_t next = 0;
    for (size_t at = 0; data->d_size - at >= sizeof(uint64_t); at += sizeof(uint64_t)) {
      uint64_t entry;
      std::memcpy(&entry, static_cast<const char*>(data->d_buf) + at, sizeof entry);
      if ((entry & 1) == 0) {
        add_in_place(entry);
        next = entry + 8;
        continue;
      }
      for (uint64_t bits = entry >> 1, slot = next; bits != 0; bits >>= 1, slot += 8)
        if ((bits & 1) != 0) add_in_place(slot);
      next += uint64_t{63} * 8;
    }
  }

  void add_in_place(uint64_t slot) {
    if (const auto target = word(slot)) add(slot, *target);
  }

  const ElfFile& file_;
  Elf* elf_;
  const char* bytes_ = nullptr;
  size_t size_ = 0;
  const Machine* machine_ = nullptr;
  bool is_movable_ = false;
  std::vector<GElf_Phdr> data_, code_;
  std::vector<CodePointer> found_;
};

}  // namespace

std::vector<CodePointer> code_pointers(const ElfFile& file) {
  return Image(file).pointers();
}

std::span<const uint8_t> file_bytes(const ElfFile& file, uint64_t address, uint64_t size) {
  return Image(file).bytes(address, size);
}

std::optional<uint64_t> data_word(const ElfFile& file, uint64_t address) {
  return Image(file).word(address);
}

std::optional<uint64_t> jump_target(const ElfFile& file, uint64_t function) {
  return Image(file).jump_target(function);
}

}  // namespace asynctrace
