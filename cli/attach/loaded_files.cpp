#include "cli/attach/loaded_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <algorithm>
#include <array>
#include <functional>
#include <memory>

#include <fmt/format.h>
#include <gelf.h>
#include <libelf.h>

#include "cli/attach/target_memory.hpp"
#include "cli/process/file_descriptor.hpp"

namespace asynctrace {
namespace {

// Calls `visit(name, address in the file, size)` for each function or object that the file exports.
void for_each_symbol(int fd, const std::function<void(const char*, uint64_t, uint64_t)>& visit) {
  elf_version(EV_CURRENT);
  const std::unique_ptr<Elf, int (*)(Elf*)> elf(elf_begin(fd, ELF_C_READ, nullptr), elf_end);
  if (!elf || elf_kind(elf.get()) != ELF_K_ELF) return;
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf.get(), section)) != nullptr;) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) == nullptr || header.sh_type != SHT_DYNSYM) continue;
    Elf_Data* data = elf_getdata(section, nullptr);
    for (int i = 0; data != nullptr; i++) {
      GElf_Sym symbol;
      if (gelf_getsym(data, i, &symbol) == nullptr) break;
      const char* name = elf_strptr(elf.get(), header.sh_link, symbol.st_name);
      const auto type = GELF_ST_TYPE(symbol.st_info);
      if (name != nullptr && symbol.st_shndx != SHN_UNDEF && (type == STT_FUNC || type == STT_OBJECT))
        visit(name, symbol.st_value, symbol.st_size);
    }
  }
}

// Run-time address of what the file has at 0; its first mapping must begin with a PT_LOAD.
std::optional<uint64_t> bias_of(int fd, const Mapping& first) {
  elf_version(EV_CURRENT);
  const std::unique_ptr<Elf, int (*)(Elf*)> elf(elf_begin(fd, ELF_C_READ, nullptr), elf_end);
  size_t count = 0;
  if (!elf || elf_getphdrnum(elf.get(), &count) != 0) return std::nullopt;
  for (size_t i = 0; i < count; i++) {
    GElf_Phdr header;
    if (gelf_getphdr(elf.get(), static_cast<int>(i), &header) != nullptr && header.p_type == PT_LOAD)
      return first.start - first.offset - (header.p_vaddr - header.p_offset);
  }
  return std::nullopt;
}

}  // namespace

std::optional<LoadedFiles> LoadedFiles::read(pid_t pid) {
  const auto text = read_file(fmt::format("/proc/{}/maps", pid));
  if (!text) return std::nullopt;
  return LoadedFiles(pid, parse_mappings(*text));
}

const Mapping* LoadedFiles::mapping_of(uint64_t address) const {
  const auto found = std::find_if(mappings_.begin(), mappings_.end(),
                                  [&](const Mapping& mapping) { return mapping.contains(address); });
  return found != mappings_.end() ? &*found : nullptr;
}

const Mapping* LoadedFiles::file_of(uint64_t address) const {
  const Mapping* mapping = mapping_of(address);
  if (mapping == nullptr || mapping->inode == 0) return nullptr;
  return &*std::find_if(mappings_.begin(), mappings_.end(), [&](const Mapping& other) {
    return other.inode == mapping->inode && other.path == mapping->path;
  });
}

const Mapping* LoadedFiles::library(std::string_view name) const {
  const std::string_view stem = name.substr(0, name.find(".so"));
  for (const Mapping& mapping : mappings_) {
    const std::string_view file = std::string_view(mapping.path).substr(mapping.path.rfind('/') + 1);
    const bool versioned = file.starts_with(stem) && file.substr(stem.size()).starts_with('-') &&
                           file.find(".so") != std::string_view::npos;
    if (mapping.inode != 0 && mapping.path.starts_with('/') && (file == name || versioned)) return &mapping;
  }
  return nullptr;
}

bool LoadedFiles::is_in(const Mapping& file, uint64_t address) const {
  const Mapping* mapping = mapping_of(address);
  return mapping != nullptr && mapping->inode == file.inode && mapping->path == file.path;
}

int LoadedFiles::open(const Mapping& file) const {
  const std::string mapped = fmt::format("/proc/{}/map_files/{:x}-{:x}", pid_, file.start, file.end);
  if (const int fd = ::open(mapped.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); fd >= 0) return fd;
  // Its links are for root alone.
  const int fd =
      ::open(fmt::format("/proc/{}/root{}", pid_, file.path).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat info {};
  if (fd >= 0 && (::fstat(fd, &info) != 0 || info.st_ino != file.inode)) return ::close(fd), -1;
  return fd;
}

std::optional<uint64_t> LoadedFiles::address_of(int fd, const Mapping& file, const std::string& name) const {
  const auto bias = bias_of(fd, file);
  std::optional<uint64_t> found;
  if (bias)
    for_each_symbol(fd, [&](const char* symbol, uint64_t address, uint64_t) {
      if (name == symbol) found = *bias + address;
    });
  return found;
}

std::optional<uint64_t> LoadedFiles::function(const Mapping& file, const std::string& name) const {
  const FileDescriptor fd(open(file));
  const auto found = fd ? address_of(fd.get(), file, name) : std::nullopt;
  return found && has_code_of_file(fd.get(), *found) ? found : std::nullopt;
}

std::optional<uint32_t> LoadedFiles::number(const Mapping& file, const std::string& name) const {
  const FileDescriptor fd(open(file));
  const auto found = fd ? address_of(fd.get(), file, name) : std::nullopt;
  uint32_t value = 0;
  if (!found || !read_memory(pid_, *found, std::as_writable_bytes(std::span(&value, 1)))) return std::nullopt;
  return value;
}

// A file may be mapped by someone who only reads it.
bool LoadedFiles::has_code_of_file(int fd, uint64_t address) const {
  const Mapping* mapping = mapping_of(address);
  std::array<std::byte, 32> in_memory{}, in_file{};
  return mapping != nullptr && mapping->executable && read_memory(pid_, address, in_memory) &&
         ::pread(fd, in_file.data(), in_file.size(),
                 static_cast<off_t>(mapping->offset + (address - mapping->start))) ==
             ssize_t{in_file.size()} &&
         in_memory == in_file;
}

std::vector<std::string> LoadedFiles::names_at(uint64_t address) const {
  const Mapping* file = file_of(address);
  if (file == nullptr) return {};
  const FileDescriptor fd(open(*file));
  const auto bias = fd ? bias_of(fd.get(), *file) : std::nullopt;
  std::vector<std::string> found;
  if (bias)
    for_each_symbol(fd.get(), [&](const char* symbol, uint64_t start, uint64_t size) {
      if (address - *bias - start < size) found.emplace_back(symbol);
    });
  return found;
}

std::optional<uint64_t> LoadedFiles::find_code(const Mapping& file, std::string_view bytes) const {
  for (const Mapping& mapping : mappings_) {
    if (!mapping.executable || mapping.inode != file.inode || mapping.path != file.path) continue;
    std::string code(mapping.end - mapping.start, '\0');
    if (!read_memory(pid_, mapping.start, std::as_writable_bytes(std::span(code)))) continue;
    if (const size_t at = code.find(bytes); at != std::string::npos) return mapping.start + at;
  }
  return std::nullopt;
}

}  // namespace asynctrace
