#include "cli/attach/loaded_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <algorithm>
#include <charconv>
#include <functional>
#include <memory>

#include <fmt/format.h>
#include <gelf.h>
#include <libelf.h>

#include "cli/attach/target_memory.hpp"
#include "cli/process/file_descriptor.hpp"

namespace asynctrace {
namespace {

std::string_view next_word(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  const std::string_view word = text.substr(0, text.find(' '));
  text.remove_prefix(word.size());
  return word;
}

bool parse(std::string_view text, int base, uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size();
}

std::optional<Mapping> parse_line(std::string_view line) {
  Mapping mapping;
  const std::string_view range = next_word(line);
  const std::string_view rights = next_word(line);
  const size_t dash = range.find('-');
  if (dash == std::string_view::npos || rights.size() < 4 ||
      !parse(range.substr(0, dash), 16, mapping.start) || !parse(range.substr(dash + 1), 16, mapping.end) ||
      !parse(next_word(line), 16, mapping.offset))
    return std::nullopt;
  next_word(line);  // device
  if (!parse(next_word(line), 10, mapping.inode)) return std::nullopt;
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  mapping.readable = rights[0] == 'r';
  mapping.executable = rights[2] == 'x';
  mapping.path = line;
  return mapping;
}

// Calls `visit(name, address in the file, size)` for each function that the file exports.
void for_each_function(int fd, const std::function<void(const char*, uint64_t, uint64_t)>& visit) {
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
      if (name != nullptr && symbol.st_shndx != SHN_UNDEF && GELF_ST_TYPE(symbol.st_info) == STT_FUNC)
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

std::vector<Mapping> parse_mappings(std::string_view maps) {
  std::vector<Mapping> mappings;
  while (!maps.empty()) {
    const std::string_view line = maps.substr(0, maps.find('\n'));
    maps.remove_prefix(std::min(line.size() + 1, maps.size()));
    if (auto mapping = parse_line(line)) mappings.push_back(std::move(*mapping));
  }
  return mappings;
}

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

std::optional<uint64_t> LoadedFiles::function(const Mapping& file, const std::string& name) const {
  const FileDescriptor fd(open(file));
  const auto bias = fd ? bias_of(fd.get(), file) : std::nullopt;
  std::optional<uint64_t> found;
  if (bias)
    for_each_function(fd.get(), [&](const char* symbol, uint64_t address, uint64_t) {
      if (name == symbol) found = *bias + address;
    });
  return found;
}

std::string LoadedFiles::function_at(uint64_t address) const {
  const Mapping* file = file_of(address);
  if (file == nullptr) return {};
  const FileDescriptor fd(open(*file));
  const auto bias = fd ? bias_of(fd.get(), *file) : std::nullopt;
  std::string found;
  if (bias)
    for_each_function(fd.get(), [&](const char* symbol, uint64_t start, uint64_t size) {
      if (address - *bias - start < size) found = symbol;
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
