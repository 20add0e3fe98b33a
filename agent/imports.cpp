#include "agent/imports.hpp"

#include <link.h>
#include <string.h>
#include <sys/auxv.h>

#include "agent/got.hpp"
#include "agent/interpose.hpp"

namespace asynctrace::agent {
namespace {

uint64_t address_of_libc() {
  return reinterpret_cast<uint64_t>(&getauxval);
}
uint64_t address_of_agent() {
  return reinterpret_cast<uint64_t>(&_DYNAMIC[0]);
}

enum Order : int { kAgentFirst = 1, kLibcFirst = 2 };

int which_comes_first(dl_phdr_info* info, size_t, void*) {
  for (const Elf64_Phdr& header : std::span(info->dlpi_phdr, info->dlpi_phnum)) {
    if (header.p_type != PT_LOAD) continue;
    const uint64_t start = info->dlpi_addr + header.p_vaddr;
    if (address_of_agent() - start < header.p_memsz) return kAgentFirst;
    if (address_of_libc() - start < header.p_memsz) return kLibcFirst;
  }
  return 0;
}

struct Exported {
  const char* name;
  void* function;
  void* real;  // which it stands before
};

Exported g_exported[64];
size_t g_count = 0;

bool is_code_of(const LoadedModule& module, const void* pointer) {
  const auto address = reinterpret_cast<uint64_t>(pointer);
  for (const Elf64_Phdr& header : std::span(module.headers, module.header_count))
    if (header.p_type == PT_LOAD && (header.p_flags & PF_X) != 0 &&
        address - module.bias - header.p_vaddr < header.p_memsz)
      return true;
  return false;
}

}  // namespace

bool comes_before_libc() {
  return dl_iterate_phdr(which_comes_first, nullptr) != kLibcFirst;
}

void start_imports() {
  const LoadedModule* self = agent_module();
  if (self == nullptr) return;
  const DynamicSection dynamic = read_dynamic(*self);
  for (const Elf64_Sym& symbol : std::span(dynamic.symbols, dynamic.hash[1])) {
    if (symbol.st_shndx == SHN_UNDEF || ELF64_ST_TYPE(symbol.st_info) != STT_FUNC ||
        g_count == std::size(g_exported))
      continue;
    const char* name = dynamic.name_of(symbol);
    if (void* real = real_dlsym()(g_real_scope, name); real != nullptr)
      g_exported[g_count++] = {name, reinterpret_cast<void*>(self->bias + symbol.st_value), real};
  }
}

void redirect_imports(const LoadedModule& module, SlotPatcher& patcher) {
  if (&module == agent_module()) return;
  for_each_import(read_dynamic(module), [&](const Import& import) {
    if (import.is_own || import.is_plain) return;
    for (const Exported& row : std::span(g_exported, g_count)) {
      if (strcmp(import.name, row.name) != 0) continue;
      const void* bound = std::atomic_ref<void*>(*import.slot).load(std::memory_order_acquire);
      if (bound == row.real || is_code_of(module, bound)) patcher.write(import.slot, row.function);
    }
  });
}

}  // namespace asynctrace::agent
