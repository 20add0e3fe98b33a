#include "agent/native/hook_variables.hpp"

#include <string.h>

#include <algorithm>
#include <atomic>
#include <span>

#include "agent/got.hpp"
#include "agent/modules.hpp"
#include "agent/native/event_hooks.hpp"

namespace asynctrace::agent {
namespace {

using Variable = const asynctrace_hooks*;

constexpr char kName[] = "asynctrace_hooks";
constexpr size_t kMaxVariables = 256;
Variable* g_variables[kMaxVariables];
size_t g_count = 0;

bool is_writable(const LoadedModule& module, uint64_t address) {
  for (const Elf64_Phdr& header : std::span(module.headers, module.header_count)) {
    if (header.p_type != PT_LOAD || (header.p_flags & PF_W) == 0) continue;
    const uint64_t offset = address - module.bias - header.p_vaddr;
    if (offset < header.p_memsz && header.p_memsz - offset >= sizeof(Variable)) return true;
  }
  return false;
}

void add(const LoadedModule& module, const Elf64_Sym& symbol) {
  const uint64_t address = module.bias + symbol.st_value;
  if (symbol.st_shndx == SHN_UNDEF || ELF64_ST_TYPE(symbol.st_info) != STT_OBJECT ||
      symbol.st_size != sizeof(Variable) || address % alignof(Variable) != 0 || !is_writable(module, address))
    return;
  auto* variable = reinterpret_cast<Variable*>(address);
  Variable** const end = g_variables + g_count;
  if (g_count < kMaxVariables && std::find(g_variables, end, variable) == end)
    g_variables[g_count++] = variable;
}

bool is_in(const LoadedModule& module, const Variable* variable) {
  const auto address = reinterpret_cast<uint64_t>(variable);
  return address >= module.start && address < module.end;
}

void look_in(const LoadedModule& module, const ElfSymbols::Table& table) {
  // Most modules do not even have the word.
  if (table.names.empty() || memmem(table.names.data(), table.names.size(), kName, sizeof(kName)) == nullptr)
    return;
  for (const Elf64_Sym& symbol : table.symbols) {
    const char* name = table.name(symbol);
    if (name != nullptr && strcmp(name, kName) == 0) add(module, symbol);
  }
}

}  // namespace

bool find_hook_variables(const LoadedModule& module, const ElfSymbols& symbols) {
  if (const Elf64_Sym* symbol = exported_symbol(module, kName, STT_OBJECT)) add(module, *symbol);
  look_in(module, symbols.local());
  return std::any_of(g_variables, g_variables + g_count,
                     [&](const Variable* variable) { return is_in(module, variable); });
}

void forget_hook_variables(const LoadedModule& module) {
  Variable** const end = std::remove_if(g_variables, g_variables + g_count,
                                        [&](const Variable* variable) { return is_in(module, variable); });
  g_count = static_cast<size_t>(end - g_variables);
}

void fill_hook_variables() {
  for (Variable* variable : std::span(g_variables, g_count))
    std::atomic_ref<Variable>(*variable).store(&kNativeHooks,
                                               std::memory_order_release);  // acquired in the header
}

void clear_hook_variables() {
  for (Variable* variable : std::span(g_variables, g_count))
    std::atomic_ref<Variable>(*variable).store(nullptr, std::memory_order_release);
}

}  // namespace asynctrace::agent
