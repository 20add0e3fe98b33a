#include "agent/got.hpp"

#include <string.h>

#include <type_traits>

namespace asynctrace::agent {
namespace {

bool is_exported(const Elf64_Sym& symbol, unsigned char type) {
  const auto binding = ELF64_ST_BIND(symbol.st_info);
  return symbol.st_shndx != SHN_UNDEF && ELF64_ST_TYPE(symbol.st_info) == type &&
         (binding == STB_GLOBAL || binding == STB_WEAK);
}

uint32_t gnu_hash_of(const char* name) {
  uint32_t hash = 5381;
  for (; *name != '\0'; name++) hash = hash * 33 + static_cast<unsigned char>(*name);
  return hash;
}

// Null: not there.
const Elf64_Sym* look_up(const DynamicSection& dynamic, const char* name, unsigned char type) {
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
    if ((link | 1) == (hash | 1) && is_exported(symbol, type) && strcmp(dynamic.name_of(symbol), name) == 0)
      return &symbol;
    if ((link & 1) != 0) return nullptr;
  }
}

}  // namespace

DynamicSection read_dynamic(uint64_t bias, const Elf64_Dyn* entry) {
  DynamicSection out;
  out.bias = bias;
  // The loader makes addresses of most of these; in some modules they stay as they are in the file.
  const auto set = [&](auto& pointer) {
    const uint64_t value = entry->d_un.d_ptr;
    pointer =
        reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(value >= bias ? value : bias + value);
  };
  const Elf64_Rela* rows[2] = {};
  uint64_t sizes[2] = {};
  for (; entry != nullptr && entry->d_tag != DT_NULL; entry++) {
    switch (entry->d_tag) {
      case DT_STRTAB: set(out.strings); break;
      case DT_STRSZ: out.strings_size = entry->d_un.d_val; break;
      case DT_SYMTAB: set(out.symbols); break;
      case DT_HASH: set(out.hash); break;
      case DT_GNU_HASH: set(out.gnu_hash); break;
      case DT_RELA: set(rows[0]); break;
      case DT_RELASZ: sizes[0] = entry->d_un.d_val; break;
      case DT_JMPREL: set(rows[1]); break;
      case DT_PLTRELSZ: sizes[1] = entry->d_un.d_val; break;
      case DT_SONAME: out.soname = entry->d_un.d_val; break;
      default: break;
    }
  }
  for (int i = 0; i < 2; i++)
    if (rows[i] != nullptr) out.relocations[i] = {rows[i], sizes[i] / sizeof(Elf64_Rela)};
  return out;
}

DynamicSection read_dynamic(const LoadedModule& module) {
  const Elf64_Dyn* dynamic = nullptr;
  for (const Elf64_Phdr& header : std::span(module.headers, module.header_count))
    if (header.p_type == PT_DYNAMIC)
      dynamic = reinterpret_cast<const Elf64_Dyn*>(module.bias + header.p_vaddr);
  return read_dynamic(module.bias, dynamic);
}

const char* soname(const LoadedModule& module) {
  const DynamicSection dynamic = read_dynamic(module);
  return dynamic.strings != nullptr && dynamic.soname != 0 && dynamic.soname < dynamic.strings_size
             ? dynamic.strings + dynamic.soname
             : "";
}

const Elf64_Sym* exported_symbol(const LoadedModule& module, const char* name, unsigned char type) {
  const DynamicSection dynamic = read_dynamic(module);
  if (dynamic.strings == nullptr || dynamic.symbols == nullptr) return nullptr;
  if (dynamic.gnu_hash != nullptr) return look_up(dynamic, name, type);
  if (dynamic.hash == nullptr) return nullptr;
  for (const Elf64_Sym& symbol : std::span(dynamic.symbols, dynamic.hash[1]))
    if (is_exported(symbol, type) && strcmp(dynamic.name_of(symbol), name) == 0) return &symbol;
  return nullptr;
}

uint64_t exported_function(const LoadedModule& module, const char* name) {
  const Elf64_Sym* symbol = exported_symbol(module, name, STT_FUNC);
  return symbol != nullptr ? module.bias + symbol->st_value : 0;
}

uint64_t exported_variable(const LoadedModule& module, const char* name) {
  const Elf64_Sym* symbol = exported_symbol(module, name, STT_OBJECT);
  return symbol != nullptr ? module.bias + symbol->st_value : 0;
}

}  // namespace asynctrace::agent
