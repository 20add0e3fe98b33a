#include "cli/symbols/elf_file.hpp"

#include <elf.h>
#include <fcntl.h>
#include <gelf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <tuple>

namespace asynctrace {

namespace {

// A note of a corrupt file may claim any size; real build-ids are 8 to 32 bytes.
constexpr size_t kMaxBuildId = 64;

std::optional<uint8_t> rank_of(const GElf_Sym& symbol) {
  uint8_t type_rank;
  switch (GELF_ST_TYPE(symbol.st_info)) {
    case STT_FUNC:
    case STT_GNU_IFUNC: type_rank = 0; break;
    case STT_NOTYPE: type_rank = 4; break;  // hand-written assembly often leaves the type out
    default: return std::nullopt;
  }
  switch (GELF_ST_BIND(symbol.st_info)) {
    case STB_GLOBAL: return type_rank;
    case STB_WEAK: return type_rank + 1;
    default: return type_rank + 2;
  }
}

uint64_t end_of(const ElfSymbol& symbol) {
  return symbol.size > UINT64_MAX - symbol.address ? UINT64_MAX : symbol.address + symbol.size;
}

}  // namespace

tl::expected<std::unique_ptr<ElfFile>, std::string> ElfFile::open(const std::string& path) {
  // A path may name a FIFO or a device: neither may block or be read.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return tl::unexpected("cannot be opened: " + std::string(std::strerror(errno)));
  struct stat status {};
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(fd);
    return tl::unexpected(std::string("is not a regular file"));
  }
  elf_version(EV_CURRENT);
  Elf* elf = elf_begin(fd, ELF_C_READ_MMAP, nullptr);
  if (elf == nullptr || elf_kind(elf) != ELF_K_ELF) {
    elf_end(elf);
    close(fd);
    return tl::unexpected(std::string("is not an ELF file"));
  }
  std::unique_ptr<ElfFile> file(new ElfFile(path, fd, elf));
  file->version_ = {static_cast<uint64_t>(status.st_size),
                    status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec};
  file->read_sections();
  return file;
}

ElfFile::~ElfFile() {
  elf_end(elf_);
  close(fd_);
}

void ElfFile::read_sections() {
  size_t names = 0;
  if (elf_getshdrstrndx(elf_, &names) != 0) return;
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf_, section)) != nullptr;) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) == nullptr) continue;
    if ((header.sh_flags & SHF_ALLOC) && (header.sh_flags & SHF_EXECINSTR) && header.sh_size != 0 &&
        header.sh_size <= UINT64_MAX - header.sh_addr) {
      code_.push_back({header.sh_addr, header.sh_addr + header.sh_size});
    }
    const char* name = elf_strptr(elf_, names, header.sh_name);
    // A separate debug file keeps the headers of what it left out, as SHT_NOBITS.
    if (header.sh_type == SHT_SYMTAB) symtab_ = section;
    if (header.sh_type == SHT_DYNSYM) dynsym_ = section;
    if (header.sh_type == SHT_NOTE) read_notes(elf_getdata(section, nullptr));
    if (name == nullptr) continue;
    if (std::strcmp(name, ".gnu_debuglink") == 0) read_debug_link(elf_getdata(section, nullptr));
    const bool is_info = std::strcmp(name, ".debug_info") == 0 || std::strcmp(name, ".zdebug_info") == 0;
    has_debug_info_ |= is_info && header.sh_type != SHT_NOBITS;
  }
  std::sort(code_.begin(), code_.end(),
            [](const CodeSection& a, const CodeSection& b) { return a.begin < b.begin; });
}

void ElfFile::read_notes(Elf_Data* data) {
  if (data == nullptr || !build_id_.empty()) return;
  GElf_Nhdr note;
  size_t name_at = 0;
  size_t desc_at = 0;
  for (size_t at = 0; (at = gelf_getnote(data, at, &note, &name_at, &desc_at)) > 0;) {
    const auto* bytes = static_cast<const uint8_t*>(data->d_buf);
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == sizeof ELF_NOTE_GNU &&
        std::memcmp(bytes + name_at, ELF_NOTE_GNU, sizeof ELF_NOTE_GNU) == 0 && note.n_descsz != 0 &&
        note.n_descsz <= kMaxBuildId) {
      build_id_.assign(bytes + desc_at, bytes + desc_at + note.n_descsz);
      return;
    }
  }
}

void ElfFile::read_debug_link(Elf_Data* data) {
  if (data == nullptr || data->d_buf == nullptr) return;
  const auto* text = static_cast<const char*>(data->d_buf);
  const std::string_view name(text, strnlen(text, data->d_size));
  // It is a bare file name; a path would let the file choose what is read.
  if (name.size() < data->d_size && name.find('/') == std::string_view::npos) debug_link_ = name;
}

const ElfFile::CodeSection* ElfFile::code_section(uint64_t address) const {
  const auto next = std::upper_bound(code_.begin(), code_.end(), address,
                                     [](uint64_t a, const CodeSection& s) { return a < s.begin; });
  if (next == code_.begin()) return nullptr;
  const CodeSection& section = *std::prev(next);
  return address < section.end ? &section : nullptr;
}

bool ElfFile::is_code(uint64_t address) const {
  return code_section(address) != nullptr;
}

namespace {

// Of a symbol table, what is defined: the entry, and what gives its name, "" where it has none.
template <typename Visit>
void for_each_entry(Elf* elf, Elf_Scn* section, Visit visit) {
  GElf_Shdr header;
  if (section == nullptr || gelf_getshdr(section, &header) == nullptr || header.sh_entsize == 0) return;
  Elf_Data* data = elf_getdata(section, nullptr);
  if (data == nullptr) return;
  const size_t count = std::min(data->d_size / header.sh_entsize, size_t{INT32_MAX});
  for (size_t i = 0; i < count; ++i) {
    GElf_Sym symbol;
    if (gelf_getsym(data, static_cast<int>(i), &symbol) == nullptr) break;
    if (symbol.st_shndx == SHN_UNDEF) continue;
    visit(symbol, [&] {
      const char* name = elf_strptr(elf, header.sh_link, symbol.st_name);
      return name != nullptr ? name : "";
    });
  }
}

}  // namespace

void ElfFile::read_symbols() {
  symbols_read_ = true;
  for_each_entry(elf_, symtab_ != nullptr ? symtab_ : dynsym_, [&](const GElf_Sym& symbol, auto name_of) {
    const auto rank = rank_of(symbol);
    if (!rank || !is_code(symbol.st_value)) return;
    const char* name = name_of();
    // "$x" and the like are aarch64's marks of code and data, not names.
    if (*name != '\0' && *name != '$')
      symbols_.push_back({{name, symbol.st_value, symbol.st_size}, *rank, 0});
  });
  std::sort(symbols_.begin(), symbols_.end(), [](const Symbol& a, const Symbol& b) {
    return std::tuple(a.symbol.address, a.rank, ~a.symbol.size, a.symbol.name) <
           std::tuple(b.symbol.address, b.rank, ~b.symbol.size, b.symbol.name);
  });
  uint64_t reach = 0;
  for (Symbol& entry : symbols_) entry.reach_below = reach = std::max(reach, end_of(entry.symbol));
}

std::optional<uint64_t> ElfFile::variable(std::string_view name) const {
  std::optional<uint64_t> address;
  for_each_entry(elf_, symtab_ != nullptr ? symtab_ : dynsym_, [&](const GElf_Sym& symbol, auto name_of) {
    if (GELF_ST_TYPE(symbol.st_info) == STT_OBJECT && name == name_of()) address = symbol.st_value;
  });
  return address;
}

std::vector<ElfSymbol> ElfFile::objects(std::string_view beginning) const {
  std::vector<ElfSymbol> found;
  for_each_entry(elf_, symtab_ != nullptr ? symtab_ : dynsym_, [&](const GElf_Sym& symbol, auto name_of) {
    if (GELF_ST_TYPE(symbol.st_info) == STT_OBJECT && std::string_view(name_of()).starts_with(beginning))
      found.push_back({name_of(), symbol.st_value, symbol.st_size});
  });
  return found;
}

std::optional<ElfSymbol> ElfFile::symbol_at(uint64_t address) {
  if (!symbols_read_) read_symbols();
  const CodeSection* section = code_section(address);
  if (section == nullptr) return std::nullopt;
  const auto next = std::upper_bound(symbols_.begin(), symbols_.end(), address,
                                     [](uint64_t a, const Symbol& s) { return a < s.symbol.address; });

  // The nearest start wins; among those of one address the order of the table does.
  const ElfSymbol* covering = nullptr;
  for (auto at = next; at != symbols_.begin();) {
    --at;
    if (at->reach_below <= address || (covering && covering->address != at->symbol.address)) break;
    if (end_of(at->symbol) > address) covering = &at->symbol;
  }
  if (covering != nullptr) return *covering;

  const ElfSymbol* unsized = nullptr;
  for (auto at = next; at != symbols_.begin();) {
    --at;
    if (at->symbol.address != std::prev(next)->symbol.address || at->symbol.address < section->begin) break;
    if (at->symbol.size == 0) unsized = &at->symbol;
  }
  if (unsized != nullptr) return *unsized;
  return std::nullopt;
}

}  // namespace asynctrace
