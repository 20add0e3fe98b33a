#include "agent/native/elf_symbols.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/platform.hpp"

namespace asynctrace::agent {
namespace {

// An array of `count` items inside the file; empty where it does not lie in it.
template <typename T>
std::span<const T> items(const unsigned char* file, size_t size, uint64_t offset, uint64_t count) {
  if (offset > size || count > (size - offset) / sizeof(T) || offset % alignof(T) != 0) return {};
  return {reinterpret_cast<const T*>(file + offset), static_cast<size_t>(count)};
}

}  // namespace

ElfSymbols::ElfSymbols(const LoadedModule& module) {
  // The executable may have been moved or removed since.
  const int fd = open(module.path[0] == '\0' ? "/proc/self/exe" : module.path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  struct stat info;
  if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
    void* memory = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    if (memory != MAP_FAILED) {
      file_ = static_cast<const unsigned char*>(memory);
      size_ = static_cast<size_t>(info.st_size);
      read();
    }
  }
  close(fd);
}

ElfSymbols::~ElfSymbols() {
  if (file_ != nullptr) munmap(const_cast<unsigned char*>(file_), size_);
}

void ElfSymbols::read() {
  const auto header = items<Elf64_Ehdr>(file_, size_, 0, 1);
  if (header.empty() || header[0].e_shentsize != sizeof(Elf64_Shdr)) return;
  const auto sections = items<Elf64_Shdr>(file_, size_, header[0].e_shoff, header[0].e_shnum);
  for (const uint32_t type : {SHT_DYNSYM, SHT_SYMTAB}) {
    for (const Elf64_Shdr& section : sections) {
      if (section.sh_type != type || section.sh_link >= sections.size() || count_ == std::size(tables_))
        continue;
      const Elf64_Shdr& strings = sections[section.sh_link];
      const Table table{
          items<Elf64_Sym>(file_, size_, section.sh_offset, section.sh_size / sizeof(Elf64_Sym)),
          items<char>(file_, size_, strings.sh_offset, strings.sh_size)};
      if (!table.symbols.empty() && !table.names.empty() && table.names.back() == '\0')
        tables_[count_++] = table;
    }
  }
}

}  // namespace asynctrace::agent
