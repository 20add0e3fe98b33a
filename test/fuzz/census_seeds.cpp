// census_seeds DIRECTORY: writes a small core file: two tasks and a coroutine on a heap, a copy of one task
// on a stack, and a program's first page.
#include <elf.h>
#include <sys/procfs.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "test/fuzz/census_seed.hpp"

namespace {

using namespace asynctrace::fuzz;

constexpr uint64_t kProgram = 0x555500000000, kHeap = 0x555600000000, kStack = 0x7fff00000000;

template <typename T>
void append(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void append_note(std::string& out, uint32_t type, std::string content) {
  append(out, Elf64_Nhdr{5, static_cast<uint32_t>(content.size()), type});
  out += std::string("CORE\0\0\0\0", 8);
  content.resize((content.size() + 3) / 4 * 4);
  out += content;
}

Elf64_Ehdr elf_header(uint16_t type, uint16_t headers) {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = type;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_phoff = header.e_ehsize = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = headers;
  return header;
}

std::string words(std::vector<uint64_t> values) {
  std::string out;
  for (const uint64_t value : values) append(out, value);
  return out;
}

std::string notes() {
  prpsinfo_t info{};
  info.pr_pid = 42;
  std::strcpy(info.pr_psargs, "./shop ");
  prstatus_t status{};
  status.pr_pid = 43;
  status.pr_cursig = SIGSEGV;
  status.pr_reg[19] = kStack + 8;
  std::string out, text;
  append(text, status);
  append_note(out, NT_PRSTATUS, text);
  text.clear();
  append(text, info);
  append_note(out, NT_PRPSINFO, text);
  append_note(out, NT_AUXV, words({AT_ENTRY, kProgram + 0x40, AT_NULL, 0}));
  append_note(out, NT_FILE, words({1, 4096, kProgram, kProgram + 0x1000, 0}) + std::string("/shop\0", 6));
  return out;
}

std::string program_page() {
  std::string out;
  append(out, elf_header(ET_DYN, 2));
  append(out, Elf64_Phdr{PT_LOAD, PF_R, 0, 0, 0, 0x1000, 0x1000, 0x1000});
  append(out, Elf64_Phdr{PT_NOTE, PF_R, 0xb0, 0xb0, 0, 20, 20, 4});
  append(out, Elf64_Nhdr{4, 4, NT_GNU_BUILD_ID});
  return out + std::string("GNU\0\x12\x34\x56\x78", 8);
}

}  // namespace

int main(int, char** arguments) {
  const std::string heap = words({0xcc, 0, kTokioTable, 1, 0, 7, 0, 0x200, 0, 0, kAsyncTaskTable, 0,
                                  // A block of malloc's with a coroutine in it, and what is left of the heap.
                                  0, 0x31, kResume, kDestroy, 0, 0, 0, 0x71, 0, 0});
  const std::string stack = words({0xcc, 0, kTokioTable, 0, 0, 7});
  const std::string parts[] = {notes(), program_page(), heap, stack};
  const uint64_t addresses[] = {0, kProgram, kHeap, kStack};
  std::string headers, contents;
  append(headers, elf_header(ET_CORE, 4));
  uint64_t offset = sizeof(Elf64_Ehdr) + 4 * sizeof(Elf64_Phdr);
  for (size_t i = 0; i < 4; ++i) {
    const uint32_t flags = i < 2 ? PF_R : PF_R | PF_W;
    append(headers, Elf64_Phdr{i == 0 ? uint32_t{PT_NOTE} : uint32_t{PT_LOAD}, flags, offset, addresses[i], 0,
                               parts[i].size(), parts[i].size(), 4});
    offset += parts[i].size();
    contents += parts[i];
  }
  std::ofstream(std::string(arguments[1]) + "/tasks", std::ios::binary) << headers << contents;
}
