#include "agent/rust/symbol_index.hpp"

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "agent/platform.hpp"
#include "common/rust_symbols.hpp"

namespace asynctrace::agent {
namespace {

// An array of `count` items inside the file, or null.
template <typename T>
const T* items(const unsigned char* file, size_t size, uint64_t offset, uint64_t count) {
  if (offset > size || count > (size - offset) / sizeof(T)) return nullptr;
  return reinterpret_cast<const T*>(file + offset);
}

// The file may have been replaced since: its addresses would be those of other code. Notes hold the build-id;
// without one the code itself has to be the same.
bool is_what_was_loaded(const unsigned char* file, size_t size, const LoadedModule& module) {
  const auto* header = items<Elf64_Ehdr>(file, size, 0, 1);
  if (header == nullptr || header->e_phnum != module.header_count) return false;
  const auto* headers = items<Elf64_Phdr>(file, size, header->e_phoff, header->e_phnum);
  if (headers == nullptr || memcmp(headers, module.headers, header->e_phnum * sizeof(Elf64_Phdr)) != 0)
    return false;
  for (uint32_t i = 0; i < header->e_phnum; i++) {
    const Elf64_Phdr& part = headers[i];
    const bool code = part.p_type == PT_LOAD && (part.p_flags & PF_X) != 0;
    if (module.build_id_size != 0 ? part.p_type != PT_NOTE : !code) continue;
    const auto* bytes = items<unsigned char>(file, size, part.p_offset, part.p_filesz);
    const auto* loaded = reinterpret_cast<const void*>(module.bias + part.p_vaddr);
    if (bytes == nullptr || memcmp(bytes, loaded, part.p_filesz) != 0) return false;
  }
  return true;
}

}  // namespace

SymbolIndex::SymbolIndex(const LoadedModule& module, Wanted wanted) {
  const int fd = open(module.path[0] == '\0' ? "/proc/self/exe" : module.path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  struct stat info;
  if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
    const auto size = static_cast<size_t>(info.st_size);
    void* file = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (file != MAP_FAILED) {
      const auto* bytes = static_cast<const unsigned char*>(file);
      if (is_what_was_loaded(bytes, size, module)) read(bytes, size, module.bias, wanted);
      munmap(file, size);
    }
  }
  close(fd);
}

SymbolIndex::~SymbolIndex() {
  if (entries_ != nullptr) munmap(entries_, capacity_ * sizeof(Entry));
}

void SymbolIndex::read(const unsigned char* file, size_t size, uint64_t bias, Wanted wanted) {
  const auto* header = items<Elf64_Ehdr>(file, size, 0, 1);
  if (header == nullptr || header->e_shentsize != sizeof(Elf64_Shdr)) return;
  const auto* sections = items<Elf64_Shdr>(file, size, header->e_shoff, header->e_shnum);
  if (sections == nullptr) return;
  for (uint32_t i = 0; i < header->e_shnum; i++) {
    const Elf64_Shdr& section = sections[i];
    if (section.sh_type != SHT_SYMTAB || section.sh_link >= header->e_shnum) continue;
    const Elf64_Shdr& names = sections[section.sh_link];
    const size_t count = section.sh_size / sizeof(Elf64_Sym);
    const auto* symbols = items<Elf64_Sym>(file, size, section.sh_offset, count);
    const auto* strings = items<char>(file, size, names.sh_offset, names.sh_size);
    if (symbols == nullptr || strings == nullptr || names.sh_size == 0 || strings[names.sh_size - 1] != '\0')
      return;
    const bool runtime = names_a_runtime(strings, names.sh_size);
    is_rust_ = runtime || names_rust(strings, names.sh_size);
    if (!(wanted == Wanted::kRuntime ? runtime : is_rust_)) return;
    capacity_ = count;
    entries_ = reserve_array<Entry>(count);
    if (entries_ == nullptr) return;
    for (const Elf64_Sym* symbol = symbols; symbol != symbols + count; symbol++) {
      if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || symbol->st_name >= names.sh_size) continue;
      const uint32_t roles = roles_of(strings + symbol->st_name);
      if (roles != 0) entries_[count_++] = {symbol->st_value + bias, roles};
    }
    sort_and_merge();
    return;
  }
}

void SymbolIndex::sort_and_merge() {
  std::sort(entries_, entries_ + count_,
            [](const Entry& a, const Entry& b) { return a.address < b.address; });
  size_t kept = 0;
  for (size_t i = 0; i < count_; i++) {
    if (kept != 0 && entries_[kept - 1].address == entries_[i].address)
      entries_[kept - 1].roles |= entries_[i].roles;
    else entries_[kept++] = entries_[i];
  }
  count_ = kept;
}

uint32_t SymbolIndex::roles_at(uint64_t address) const {
  const Entry* begin = entries_;
  const Entry* end = begin + count_;
  const Entry* found = std::lower_bound(
      begin, end, address, [](const Entry& entry, uint64_t value) { return entry.address < value; });
  return found != end && found->address == address ? found->roles : 0;
}

}  // namespace asynctrace::agent
