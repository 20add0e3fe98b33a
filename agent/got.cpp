#include "agent/got.hpp"

#include <elf.h>
#include <string.h>

#include <span>

namespace asynctrace::agent {
namespace {

struct Dynamic {
  const char* strings = nullptr;
  uint64_t strings_size = 0;
  const Elf64_Sym* symbols = nullptr;
  const uint32_t* gnu_hash = nullptr;
  const Elf64_Rela* relocations = nullptr;
  uint64_t relocations_size = 0;
  const Elf64_Rela* calls = nullptr;
  uint64_t calls_size = 0;
  uint64_t soname = 0;
};

Dynamic read_dynamic(const LoadedModule& module) {
  Dynamic out;
  // The loader makes addresses of most of these; in some modules they stay as they are in the file.
  const auto address = [&](const Elf64_Dyn& entry) {
    return entry.d_un.d_ptr >= module.start ? entry.d_un.d_ptr : module.bias + entry.d_un.d_ptr;
  };
  const auto set = [&](auto& pointer, const Elf64_Dyn& entry) {
    pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(address(entry));
  };
  for (const Elf64_Phdr& header : std::span(module.headers, module.header_count)) {
    if (header.p_type != PT_DYNAMIC) continue;
    const auto* entry = reinterpret_cast<const Elf64_Dyn*>(module.bias + header.p_vaddr);
    for (; entry->d_tag != DT_NULL; entry++) {
      switch (entry->d_tag) {
        case DT_STRTAB: set(out.strings, *entry); break;
        case DT_STRSZ: out.strings_size = entry->d_un.d_val; break;
        case DT_SYMTAB: set(out.symbols, *entry); break;
        case DT_GNU_HASH: set(out.gnu_hash, *entry); break;
        case DT_RELA: set(out.relocations, *entry); break;
        case DT_RELASZ: out.relocations_size = entry->d_un.d_val; break;
        case DT_JMPREL: set(out.calls, *entry); break;
        case DT_PLTRELSZ: out.calls_size = entry->d_un.d_val; break;
        case DT_SONAME: out.soname = entry->d_un.d_val; break;
        default: break;
      }
    }
  }
  return out;
}

const char* name_of(const Dynamic& dynamic, const Elf64_Sym& symbol) {
  return symbol.st_name < dynamic.strings_size ? dynamic.strings + symbol.st_name : "";
}

bool is_function(const Elf64_Sym& symbol) {
  const auto binding = ELF64_ST_BIND(symbol.st_info);
  return symbol.st_shndx != SHN_UNDEF && ELF64_ST_TYPE(symbol.st_info) == STT_FUNC &&
         (binding == STB_GLOBAL || binding == STB_WEAK);
}

uint32_t gnu_hash_of(const char* name) {
  uint32_t hash = 5381;
  for (; *name != '\0'; name++) hash = hash * 33 + static_cast<unsigned char>(*name);
  return hash;
}

// Null: not there.
const Elf64_Sym* look_up(const Dynamic& dynamic, const char* name) {
  const uint32_t* table = dynamic.gnu_hash;
  const uint32_t bucket_count = table[0];
  const uint32_t first_symbol = table[1];
  const uint32_t bloom_words = table[2];
  const auto* bloom = reinterpret_cast<const uint64_t*>(table + 4);
  const auto* buckets = reinterpret_cast<const uint32_t*>(bloom + bloom_words);
  const uint32_t* chains = buckets + bucket_count;
  const uint32_t hash = gnu_hash_of(name);
  if (bucket_count == 0 || bloom_words == 0) return nullptr;
  const uint64_t word = bloom[hash / 64 % bloom_words];
  if ((word >> hash % 64 & word >> (hash >> table[3]) % 64 & 1) == 0) return nullptr;
  uint32_t index = buckets[hash % bucket_count];
  if (index < first_symbol) return nullptr;
  for (;; index++) {
    const uint32_t link = chains[index - first_symbol];
    const Elf64_Sym& symbol = dynamic.symbols[index];
    if ((link | 1) == (hash | 1) && is_function(symbol) && strcmp(name_of(dynamic, symbol), name) == 0)
      return &symbol;
    if ((link & 1) != 0) return nullptr;
  }
}

void visit_all(const LoadedModule& module, const Dynamic& dynamic, std::span<const Elf64_Rela> relocations,
               void (*visit)(const Import& import, void* context), void* context) {
  for (const Elf64_Rela& relocation : relocations) {
    const auto type = ELF64_R_TYPE(relocation.r_info);
    const bool is_plain = type == R_X86_64_64 && relocation.r_addend == 0;
    if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT && !is_plain) continue;
    const Elf64_Sym& symbol = dynamic.symbols[ELF64_R_SYM(relocation.r_info)];
    visit({name_of(dynamic, symbol), reinterpret_cast<void**>(module.bias + relocation.r_offset),
           type == R_X86_64_JUMP_SLOT},
          context);
  }
}

}  // namespace

const char* soname(const LoadedModule& module) {
  const Dynamic dynamic = read_dynamic(module);
  return dynamic.strings != nullptr && dynamic.soname != 0 && dynamic.soname < dynamic.strings_size
             ? dynamic.strings + dynamic.soname
             : "";
}

uint64_t exported_function(const LoadedModule& module, const char* name) {
  const Dynamic dynamic = read_dynamic(module);
  if (dynamic.strings == nullptr || dynamic.symbols == nullptr || dynamic.gnu_hash == nullptr) return 0;
  const Elf64_Sym* symbol = look_up(dynamic, name);
  return symbol != nullptr ? module.bias + symbol->st_value : 0;
}

void for_each_function_slot(const LoadedModule& module, void (*visit)(const Import& import, void* context),
                            void* context) {
  const Dynamic dynamic = read_dynamic(module);
  if (dynamic.strings == nullptr || dynamic.symbols == nullptr) return;
  visit_all(module, dynamic, {dynamic.relocations, dynamic.relocations_size / sizeof(Elf64_Rela)}, visit,
            context);
  visit_all(module, dynamic, {dynamic.calls, dynamic.calls_size / sizeof(Elf64_Rela)}, visit, context);
}

}  // namespace asynctrace::agent
