#include "cli/process/elf_facts.hpp"

#include <cstring>
#include <memory>

#include <fmt/format.h>
#include <gelf.h>
#include <libelf.h>

namespace asynctrace {
namespace {

constexpr size_t kMaxLoaderPath = 4096;

// File offset of a run-time address, by the PT_LOAD that covers it.
std::optional<uint64_t> file_offset(Elf* elf, size_t headers, uint64_t address) {
  for (size_t i = 0; i < headers; i++) {
    GElf_Phdr header;
    if (gelf_getphdr(elf, static_cast<int>(i), &header) == nullptr || header.p_type != PT_LOAD) continue;
    if (address >= header.p_vaddr && address - header.p_vaddr < header.p_filesz) {
      return header.p_offset + (address - header.p_vaddr);
    }
  }
  return std::nullopt;
}

std::string text_of(const Elf_Data* data, size_t at) {
  if (data == nullptr || at >= data->d_size) return "";
  const char* start = static_cast<const char*>(data->d_buf) + at;
  return {start, ::strnlen(start, data->d_size - at)};
}

std::vector<std::string> needed_libraries(Elf* elf, size_t headers, const GElf_Phdr& dynamic) {
  Elf_Data* entries =
      elf_getdata_rawchunk(elf, static_cast<int64_t>(dynamic.p_offset), dynamic.p_filesz, ELF_T_DYN);
  if (entries == nullptr) return {};
  size_t entry_size = gelf_fsize(elf, ELF_T_DYN, 1, EV_CURRENT);
  std::vector<uint64_t> names;
  uint64_t strings_address = 0, strings_size = 0;
  for (size_t i = 0; i < entries->d_size / entry_size; i++) {
    GElf_Dyn entry;
    if (gelf_getdyn(entries, static_cast<int>(i), &entry) == nullptr || entry.d_tag == DT_NULL) break;
    if (entry.d_tag == DT_NEEDED) names.push_back(entry.d_un.d_val);
    if (entry.d_tag == DT_STRTAB) strings_address = entry.d_un.d_ptr;
    if (entry.d_tag == DT_STRSZ) strings_size = entry.d_un.d_val;
  }
  auto strings_offset = file_offset(elf, headers, strings_address);
  if (!strings_offset) return {};
  Elf_Data* strings =
      elf_getdata_rawchunk(elf, static_cast<int64_t>(*strings_offset), strings_size, ELF_T_BYTE);
  std::vector<std::string> libraries;
  libraries.reserve(names.size());
  for (uint64_t name : names) libraries.push_back(text_of(strings, name));
  return libraries;
}

}  // namespace

std::optional<ElfFacts> read_elf_facts(int fd) {
  elf_version(EV_CURRENT);
  std::unique_ptr<Elf, int (*)(Elf*)> elf(elf_begin(fd, ELF_C_READ, nullptr), elf_end);
  GElf_Ehdr file_header;
  size_t headers = 0;
  if (!elf || elf_kind(elf.get()) != ELF_K_ELF || gelf_getehdr(elf.get(), &file_header) == nullptr ||
      elf_getphdrnum(elf.get(), &headers) != 0) {
    return std::nullopt;
  }
  ElfFacts facts;
  facts.bits = gelf_getclass(elf.get()) == ELFCLASS32 ? 32 : 64;
  facts.machine = file_header.e_machine;
  for (size_t i = 0; i < headers; i++) {
    GElf_Phdr header;
    if (gelf_getphdr(elf.get(), static_cast<int>(i), &header) == nullptr) continue;
    if (header.p_type == PT_INTERP && header.p_filesz <= kMaxLoaderPath) {
      facts.loader = text_of(
          elf_getdata_rawchunk(elf.get(), static_cast<int64_t>(header.p_offset), header.p_filesz, ELF_T_BYTE),
          0);
    }
    if (header.p_type == PT_DYNAMIC) facts.needed = needed_libraries(elf.get(), headers, header);
  }
  return facts;
}

unsigned native_machine() {
#if defined(__x86_64__)
  return EM_X86_64;
#elif defined(__aarch64__)
  return EM_AARCH64;
#else
#error "the agent has no port to this architecture"
#endif
}

std::string architecture_name(const ElfFacts& facts) {
  struct Row {
    unsigned machine;
    const char* name;
  };
  constexpr Row kRows[] = {{EM_X86_64, "x86-64"}, {EM_386, "x86"},       {EM_AARCH64, "ARM"}, {EM_ARM, "ARM"},
                           {EM_RISCV, "RISC-V"},  {EM_PPC64, "PowerPC"}, {EM_S390, "S/390"}};
  std::string name = fmt::format("machine {}", facts.machine);
  for (const Row& row : kRows) {
    if (row.machine == facts.machine) name = row.name;
  }
  return fmt::format("{}-bit {}", facts.bits, name);
}

}  // namespace asynctrace
