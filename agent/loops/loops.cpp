#include "agent/loops/loops.hpp"

#include <string.h>

#include <algorithm>

#include "agent/arch/thunks.hpp"
#include "agent/got.hpp"
#include "agent/loops/libraries.hpp"
#include "agent/patch.hpp"
#include "agent/platform.hpp"

namespace asynctrace::agent {
namespace {

constexpr uint32_t kMaxFunctions = kThunkCounts[static_cast<size_t>(ThunkArray::kCall)];
constexpr size_t kBuckets = 1024;  // by name; a few hundred names

LoopFunction g_functions[kMaxFunctions];
uint32_t g_count = 0;
uint8_t g_buckets[kBuckets];  // number + 1 of the last function of that bucket
uint8_t g_next[kMaxFunctions];
static_assert(kMaxFunctions < 256);
uint64_t g_initials = 0;  // of the names, so that most of a program's imports are told by one letter
size_t g_patched_modules = 0;
struct KnownType {
  uint64_t address;
  const WatcherType* type;
};
KnownType g_types[kMaxTypes];  // of the one library that has some
bool g_is_called[kMaxFunctions];
uint64_t g_naming_start = 0;  // of the one library that names its sources
uint64_t g_naming_end = 0;
bool g_library_has_come = false;
bool g_has_caller = false;
bool g_has_library = false;
std::atomic<bool> g_has_plain_loop{false};
bool (*g_begin_tracing)() = nullptr;

size_t bucket_of(const char* name) {
  uint32_t hash = 2166136261u;
  for (; *name != '\0'; name++) hash = (hash ^ static_cast<unsigned char>(*name)) * 16777619u;
  return hash % kBuckets;
}

constexpr uint64_t initial_of(const char* name) {
  return uint64_t{1} << (name[0] & 63);
}

LoopFunction* find_function_named(const char* name) {
  if ((g_initials & initial_of(name)) == 0) return nullptr;
  for (uint32_t at = g_buckets[bucket_of(name)]; at != 0; at = g_next[at - 1])
    if (strcmp(g_functions[at - 1].row->function, name) == 0) return &g_functions[at - 1];
  return nullptr;
}

bool has_name(const Library& library, const char* name) {
  const auto begins = [name](const char* beginning) {
    return strncmp(name, beginning, strlen(beginning)) == 0;
  };
  return std::any_of(library.sonames.begin(), library.sonames.end(), begins);
}

bool is_of_a_library(const LoadedModule& module) {
  const char* name = soname(module);
  const auto all = libraries();
  return std::any_of(all.begin(), all.end(), [name](const Library* one) { return has_name(*one, name); });
}

void note_naming(const LoadedModule& module) {
  for (const Library* library : libraries()) {
    if (library->naming == nullptr || strcmp(soname(module), library->naming) != 0) continue;
    g_naming_start = module.start;
    g_naming_end = module.end;
  }
}

void add_function(const LoadedModule& module, const Library& library, const Row& row) {
  LoopFunction* known = find_function_named(row.function);
  // The first library that defines it is the one that the loader binds its callers to.
  if (known != nullptr && find_module(reinterpret_cast<uint64_t>(known->real)) != nullptr) return;
  const uint64_t address = exported_function(module, row.function);
  const uint64_t target = row.instead != nullptr ? exported_function(module, row.instead) : address;
  if (address == 0 || target == 0) return;
  if (known == nullptr) {
    if (g_count == kMaxFunctions) return;
    known = &g_functions[g_count++];
    uint8_t& bucket = g_buckets[bucket_of(row.function)];
    g_next[known - g_functions] = bucket;
    bucket = static_cast<uint8_t>(g_count);
    g_initials |= initial_of(row.function);
  }
  *known = {&row,         &library,  reinterpret_cast<void*>(address), reinterpret_cast<void*>(target),
            module.start, module.end};
}

// Whether a slot that is bound at its first call can lead nowhere else: nobody but such libraries defines it.
bool is_only_definition(const char* name) {
  for (const LoadedModule& module : modules()) {
    if (module.unloaded.load(std::memory_order_relaxed) || is_of_a_library(module)) continue;
    if (exported_function(module, name) != 0) return false;
  }
  return true;
}

// Only who watches descriptors cares which are closed.
const LoopFunction* find_wanted(const char* name) {
  const LoopFunction* function = find_function_named(name);
  const bool is_wanted = function != nullptr && (function->row->role != LoopRole::kClose || g_has_plain_loop);
  return is_wanted ? function : nullptr;
}

void patch(const Import& import, const LoadedModule& module, SlotPatcher& patcher) {
  const LoopFunction* function = find_wanted(import.name);
  if (function == nullptr) return;
  const bool is_plain = function->library == &kLibc;
  if (is_plain && (module.has_own_loop.load(std::memory_order_relaxed) || function->real == nullptr)) return;
  const auto target = reinterpret_cast<uint64_t>(*import.slot);
  const bool is_unresolved = import.is_call && target >= module.start && target < module.end;
  const bool is_bound = *import.slot == function->real;
  if (!is_bound && !(is_unresolved && is_only_definition(import.name))) return;
  if (is_plain && function->row->role == LoopRole::kEpollControl)
    g_has_plain_loop.store(true, std::memory_order_relaxed);
  patcher.write(import.slot, thunk(ThunkArray::kCall, static_cast<uint32_t>(function - g_functions)));
  g_is_called[function - g_functions] = true;
  g_has_caller |= !is_plain && !is_of_a_library(module);
}

// Most libraries call nothing that is hooked, but thousands of functions of their own. What a module takes
// from others stands first in its symbol table, before all that its hash table knows.
bool may_call_any(const LoadedModule& module, const DynamicSection& dynamic) {
  if (is_of_a_library(module)) return true;  // through slots for its own functions
  if (dynamic.gnu_hash == nullptr || dynamic.symbols == nullptr) return true;
  const uint32_t first_known = dynamic.gnu_hash[1];
  if (first_known <= 1) return true;  // as GNU ld has it where the hash table is empty
  for (const Elf64_Sym& symbol : std::span(dynamic.symbols, first_known))
    if (find_wanted(dynamic.name_of(symbol)) != nullptr) return true;
  return false;
}

void patch_calls_of(std::span<const LoadedModule> modules) {
  SlotPatcher patcher;
  const LoadedModule* self = agent_module();
  for (const LoadedModule& module : modules) {
    if (&module == self || module.unloaded.load(std::memory_order_relaxed)) continue;
    const DynamicSection dynamic = read_dynamic(module);
    if (!may_call_any(module, dynamic)) continue;
    for_each_import(dynamic, [&](const Import& import) { patch(import, module, patcher); });
  }
}

}  // namespace

void start_loops(bool (*begin_tracing)()) {
  g_begin_tracing = begin_tracing;
}

bool begin_tracing() {
  return g_begin_tracing != nullptr && g_begin_tracing();
}

const LoopFunction& loop_function(uint32_t number) {
  return g_functions[number];
}

const WatcherType* watcher_type(uint64_t address) {
  for (const KnownType& known : g_types)
    if (known.address == address && address != 0) return known.type;
  return nullptr;
}

bool names_its_sources(uint64_t address) {
  return address - g_naming_start < g_naming_end - g_naming_start;
}

bool find_loop_library(LoadedModule& module) {
  note_naming(module);
  const char* name = soname(module);
  bool has_loop = false;
  for (const Library* library : libraries()) {  // a user may know more of one that we know
    if (!has_name(*library, name)) continue;
    for (const Row& row : library->rows) add_function(module, *library, row);
    for (size_t i = 0; i < library->types.size() && i < kMaxTypes; i++)
      g_types[i] = {exported_variable(module, library->types[i].variable), &library->types[i]};
    g_library_has_come = true;
    has_loop |= library != &kLibc;
  }
  if (!has_loop) return false;
  module.has_own_loop.store(true, std::memory_order_relaxed);
  g_has_library = true;
  return true;
}

void find_loop_libraries() {
  for (LoadedModule& module : modules())
    if (!module.unloaded.load(std::memory_order_relaxed)) find_loop_library(module);
}

HookState state_of(const Row& row) {
  const LoopFunction* function = find_function_named(row.function);
  if (function == nullptr || find_module(reinterpret_cast<uint64_t>(function->real)) == nullptr)
    return HookState::kNotThere;
  if (function->row != &row) return HookState::kKept;
  return g_is_called[function - g_functions] ? HookState::kTaken : HookState::kNotCalled;
}

bool has_loop_library() {
  return g_has_library || g_has_plain_loop;
}

bool has_plain_caller() {
  const LoadedModule* self = agent_module();
  bool found = false;
  for (const LoadedModule& module : modules()) {
    const bool is_other = module.unloaded.load(std::memory_order_relaxed) ||
                          module.has_own_loop.load(std::memory_order_relaxed) || &module == self;
    if (is_other) continue;
    for_each_import(read_dynamic(module), [&](const Import& import) {
      const LoopFunction* function = find_function_named(import.name);
      found |= function != nullptr && function->row->role == LoopRole::kEpollControl;
    });
  }
  return found;
}

bool loop_library_has_caller() {
  return g_has_caller;
}

void patch_loop_calls() {
  const auto all = modules();
  if (g_library_has_come) g_patched_modules = 0;
  g_library_has_come = false;
  if (g_count == 0) return;
  const bool had_plain_loop = g_has_plain_loop;
  patch_calls_of(all.subspan(g_patched_modules));
  if (g_has_plain_loop && !had_plain_loop) patch_calls_of(all);
  g_patched_modules = all.size();
}

}  // namespace asynctrace::agent
