#include "agent/elf_symbols.hpp"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace asynctrace::agent {
namespace {

using File = std::span<const unsigned char>;

// An array of `count` items inside the file; empty where it does not lie in it.
template <typename T>
std::span<const T> items(File file, uint64_t offset, uint64_t count) {
  if (offset > file.size() || count > (file.size() - offset) / sizeof(T) || offset % alignof(T) != 0)
    return {};
  return {reinterpret_cast<const T*>(file.data() + offset), static_cast<size_t>(count)};
}

// The file may have been replaced since: its addresses would be those of other code. Notes hold the build-id;
// without one the code itself has to be the same.
bool is_what_was_loaded(File file, const Elf64_Ehdr& header, const LoadedModule& module) {
  const auto parts = items<Elf64_Phdr>(file, header.e_phoff, header.e_phnum);
  if (parts.empty() || parts.size() != module.header_count ||
      memcmp(parts.data(), module.headers, parts.size_bytes()) != 0)
    return false;
  for (const Elf64_Phdr& part : parts) {
    const bool code = part.p_type == PT_LOAD && (part.p_flags & PF_X) != 0;
    if (module.build_id_size != 0 ? part.p_type != PT_NOTE : !code) continue;
    const auto bytes = items<unsigned char>(file, part.p_offset, part.p_filesz);
    const auto* loaded = reinterpret_cast<const void*>(module.bias + part.p_vaddr);
    if (bytes.size() != part.p_filesz || memcmp(bytes.data(), loaded, bytes.size()) != 0) return false;
  }
  return true;
}

ElfSymbols::Table read_table(File file, std::span<const Elf64_Shdr> sections, uint32_t type) {
  for (const Elf64_Shdr& section : sections) {
    if (section.sh_type != type || section.sh_link >= sections.size()) continue;
    const Elf64_Shdr& names = sections[section.sh_link];
    const ElfSymbols::Table table{
        items<Elf64_Sym>(file, section.sh_offset, section.sh_size / sizeof(Elf64_Sym)),
        items<char>(file, names.sh_offset, names.sh_size)};
    if (!table.symbols.empty() && !table.names.empty() && table.names.back() == '\0') return table;
  }
  return {};
}

// To map a file costs more than to ask for a few bytes of it, and this is done for each process of a build.
bool has_local_symbols(int fd) {
  Elf64_Ehdr header;
  if (pread(fd, &header, sizeof(header), 0) != sizeof(header) || header.e_shentsize != sizeof(Elf64_Shdr))
    return false;
  Elf64_Shdr sections[32];
  for (uint32_t i = 0; i < header.e_shnum; i += std::size(sections)) {
    const size_t count = std::min<size_t>(std::size(sections), header.e_shnum - i);
    const auto size = static_cast<ssize_t>(count * sizeof(Elf64_Shdr));
    if (pread(fd, sections, count * sizeof(Elf64_Shdr),
              static_cast<off_t>(header.e_shoff + i * sizeof(Elf64_Shdr))) != size)
      return false;
    if (std::any_of(sections, sections + count, [](const Elf64_Shdr& s) { return s.sh_type == SHT_SYMTAB; }))
      return true;
  }
  return false;
}

// Null: the kernel's own.
const char* path_of(const LoadedModule& module) {
  // The executable may have been moved or removed since.
  if (module.path[0] == '\0') return "/proc/self/exe";
  return strchr(module.path, '/') != nullptr ? module.path : nullptr;
}

}  // namespace

ElfSymbols::ElfSymbols(const LoadedModule& module, Wanted wanted) {
  const char* path = path_of(module);
  const int fd = path != nullptr ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return;
  if (wanted == Wanted::kAll || has_local_symbols(fd)) map(fd, module);
  close(fd);
}

ElfSymbols::~ElfSymbols() {
  if (file_ != nullptr) munmap(const_cast<unsigned char*>(file_), size_);
}

void ElfSymbols::map(int fd, const LoadedModule& module) {
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size <= 0) return;
  size_ = static_cast<size_t>(info.st_size);
  void* memory = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
  if (memory == MAP_FAILED) return;
  file_ = static_cast<const unsigned char*>(memory);
  const File file(file_, size_);
  const auto header = items<Elf64_Ehdr>(file, 0, 1);
  if (header.empty() || header[0].e_shentsize != sizeof(Elf64_Shdr)) return;
  if (!is_what_was_loaded(file, header[0], module)) return;
  const auto sections = items<Elf64_Shdr>(file, header[0].e_shoff, header[0].e_shnum);
  exported_ = read_table(file, sections, SHT_DYNSYM);
  local_ = read_table(file, sections, SHT_SYMTAB);
}

}  // namespace asynctrace::agent
