// ElfFile: an executable, library or separate debug file, opened for reading: build-id, symbols, code
// sections. Every byte of it is checked by libelf or here before use. Views stay valid as long as the
// object lives. Not thread-safe. Allocates; maps the file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <libelf.h>
#include <tl/expected.hpp>

namespace asynctrace {

// A function of a symbol table; addresses are those in the file.
struct ElfSymbol {
  std::string_view name;  // linkage name, without a version
  uint64_t address = 0;
  uint64_t size = 0;  // 0: not recorded
};

class ElfFile {
 public:
  // The error is a reason for a human: "cannot be opened: No such file or directory".
  static tl::expected<std::unique_ptr<ElfFile>, std::string> open(const std::string& path);
  ~ElfFile();
  ElfFile(const ElfFile&) = delete;
  ElfFile& operator=(const ElfFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const uint8_t> build_id() const { return build_id_; }  // empty: has none
  const std::string& debug_link() const { return debug_link_; }    // file name only, empty: has none
  bool has_symtab() const { return symtab_ != nullptr; }
  bool has_debug_info() const { return has_debug_info_; }  // or a file that looks as if
  // Changes when the file is replaced: size and time of change.
  struct Version {
    uint64_t size = 0;
    int64_t changed_ns = 0;  // since 1970
  };
  Version version() const { return version_; }
  bool is_code(uint64_t address) const;
  // The function that covers `address`, from .symtab or, without one, .dynsym. Of several at one address:
  // functions before untyped ones, global before weak before local, then the longest. A symbol without a
  // size reaches to the next one of its section.
  std::optional<ElfSymbol> symbol_at(uint64_t address);
  // All that symbol_at() chooses from, by address; names end with a zero.
  template <typename Visit>
  void for_each_symbol(Visit visit) {
    if (!symbols_read_) read_symbols();
    for (const Symbol& entry : symbols_) visit(entry.symbol);
  }
  // Of a variable of that name, its address in the file.
  std::optional<uint64_t> variable(std::string_view name) const;
  // Data whose linkage names begin so, in the order of the table.
  std::vector<ElfSymbol> objects(std::string_view beginning) const;
  Elf* handle() const { return elf_; }

 private:
  struct CodeSection {
    uint64_t begin;
    uint64_t end;
  };
  struct Symbol {
    ElfSymbol symbol;
    uint8_t rank;          // lower is better
    uint64_t reach_below;  // the furthest end of this symbol and all that start before it
  };

  ElfFile(std::string path, int fd, Elf* elf) : path_(std::move(path)), fd_(fd), elf_(elf) {}
  void read_sections();
  void read_notes(Elf_Data* data);
  void read_debug_link(Elf_Data* data);
  void read_symbols();
  const CodeSection* code_section(uint64_t address) const;

  std::string path_;
  int fd_;
  Elf* elf_;
  Elf_Scn* symtab_ = nullptr;
  Elf_Scn* dynsym_ = nullptr;
  std::vector<CodeSection> code_;
  std::vector<uint8_t> build_id_;
  std::string debug_link_;
  bool has_debug_info_ = false;
  Version version_;
  bool symbols_read_ = false;
  std::vector<Symbol> symbols_;
};

}  // namespace asynctrace
