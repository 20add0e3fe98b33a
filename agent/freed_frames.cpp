#include "agent/freed_frames.hpp"

#include <string.h>

#include <algorithm>
#include <new>

#include "agent/got.hpp"
#include "agent/interpose.hpp"
#include "agent/patch.hpp"

namespace asynctrace::agent {
namespace {

constexpr size_t kAlignment = 16;  // of what can hold a frame
constexpr size_t kWords = 2;       // that a frame begins with
constexpr size_t kMaxCleared = 64 << 10;

// Of modules with coroutines. Only added to: those of one that is gone do no harm.
struct Code {
  uint64_t start, size;
};
Code g_code[32];
std::atomic<size_t> g_code_count{0};
// All of that code, and what lies between: one comparison tells most of what is freed.
std::atomic<uint64_t> g_first{UINT64_MAX}, g_span{0};

bool is_code(uint64_t address) {
  for (const Code& code : std::span(g_code, g_code_count.load(std::memory_order_acquire)))
    if (address - code.start < code.size) return true;
  return false;
}

void add_code(const Code& code) {
  const size_t count = g_code_count.load(std::memory_order_relaxed);
  if (count == std::size(g_code)) return;
  g_code[count] = code;
  g_code_count.store(count + 1, std::memory_order_release);  // acquired in is_code()
  uint64_t first = UINT64_MAX, end = 0;
  for (const Code& known : std::span(g_code, count + 1)) {
    first = std::min(first, known.start);
    end = std::max(end, known.start + known.size);
  }
  g_first.store(first, std::memory_order_relaxed);
  g_span.store(end - first, std::memory_order_relaxed);
}

bool begins_frame(const uint64_t* words) {
  return is_code(words[0]) && is_code(words[1]);
}

[[gnu::always_inline]] inline bool may_hold_frame(const void* block) {
  if (block == nullptr || reinterpret_cast<uint64_t>(block) % kAlignment != 0) return false;
  return *static_cast<const uint64_t*>(block) - g_first.load(std::memory_order_relaxed) <
         g_span.load(std::memory_order_relaxed);
}

// How much there is is not known: by its alignment the two words can be read, but no more than the first one
// is certainly the block's own.
[[gnu::noinline]] void clear_frame(uint64_t* words) {
  if (begins_frame(words)) words[0] = 0;
}

// Compilers put frames inside of others, too.
[[gnu::noinline]] void clear_frames(uint64_t* words, size_t size) {
  if (!begins_frame(words)) return;
  const size_t count = (size < kMaxCleared ? size : kMaxCleared) / sizeof(uint64_t);
  for (size_t i = 0; i + kWords <= count; i++)
    if (begins_frame(words + i)) words[i] = words[i + 1] = 0;
}

[[gnu::always_inline]] inline void clear(void* block) {
  if (may_hold_frame(block)) clear_frame(static_cast<uint64_t*>(block));
}
[[gnu::always_inline]] inline void clear(void* block, size_t size) {
  if (size >= kWords * sizeof(uint64_t) && may_hold_frame(block))
    clear_frames(static_cast<uint64_t*>(block), size);
}

using Delete = void (*)(void*);
using DeleteSized = void (*)(void*, size_t);
using DeleteAligned = void (*)(void*, std::align_val_t);
using DeleteSizedAligned = void (*)(void*, size_t, std::align_val_t);

void delete_block(void* block);
void delete_sized(void* block, size_t size);
void delete_aligned(void* block, std::align_val_t alignment);
void delete_sized_aligned(void* block, size_t size, std::align_val_t alignment);

struct Row {
  const char* name;
  void* hook;
  void* real;  // null: nobody defines it
};
Row g_rows[] = {
    {"_ZdlPv", reinterpret_cast<void*>(delete_block), nullptr},
    {"_ZdlPvm", reinterpret_cast<void*>(delete_sized), nullptr},
    {"_ZdlPvSt11align_val_t", reinterpret_cast<void*>(delete_aligned), nullptr},
    {"_ZdlPvmSt11align_val_t", reinterpret_cast<void*>(delete_sized_aligned), nullptr},
};

void delete_block(void* block) {
  clear(block);
  reinterpret_cast<Delete>(g_rows[0].real)(block);
}
void delete_sized(void* block, size_t size) {
  clear(block, size);
  reinterpret_cast<DeleteSized>(g_rows[1].real)(block, size);
}
void delete_aligned(void* block, std::align_val_t alignment) {
  clear(block);
  reinterpret_cast<DeleteAligned>(g_rows[2].real)(block, alignment);
}
void delete_sized_aligned(void* block, size_t size, std::align_val_t alignment) {
  clear(block, size);
  reinterpret_cast<DeleteSizedAligned>(g_rows[3].real)(block, size, alignment);
}

bool g_is_wanted = false;

void* find(const char* name) {
  return real_dlsym()(RTLD_DEFAULT, name);
}

bool is_in(const void* function, const char* beginning) {
  const LoadedModule* module = find_module(reinterpret_cast<uint64_t>(function));
  return module != nullptr && strncmp(soname(*module), beginning, strlen(beginning)) == 0;
}

void patch(LoadedModule& module, SlotPatcher& patcher) {
  for_each_import(read_dynamic(module), [&](const Import& import) {
    if (import.is_own || import.is_plain) return;
    for (const Row& row : g_rows) {
      if (row.real == nullptr || strcmp(import.name, row.name) != 0) continue;
      const auto target = reinterpret_cast<uint64_t>(*import.slot);
      const bool is_unresolved = import.is_call && target >= module.start && target < module.end;
      if (*import.slot == row.real || is_unresolved) patcher.write(import.slot, row.hook);
    }
  });
}

}  // namespace

void start_freed_frames() {
  const void* free = find("free");
  for (Row& row : g_rows) row.real = find(row.name);
  const bool is_known =
      is_in(free, "libc.so.6") && (is_in(g_rows[0].real, "libstdc++.so") || is_in(g_rows[0].real, "libc++"));
  // A sanitizer holds every access against its own record of what is in use.
  g_is_wanted = g_rows[0].real != nullptr && !is_known && find("__sanitizer_get_ownership") == nullptr;
}

void find_coroutines(LoadedModule& module, const ElfSymbols& symbols) {
  constexpr char kPart[] = ".destroy";
  const std::span<const char> names = symbols.local().names;
  if (!g_is_wanted || names.empty() ||
      memmem(names.data(), names.size(), kPart, sizeof(kPart) - 1) == nullptr)
    return;
  for (const Elf64_Phdr& part : std::span(module.headers, module.header_count)) {
    const bool is_executable = part.p_type == PT_LOAD && (part.p_flags & PF_X) != 0;
    if (!is_executable || is_code(module.bias + part.p_vaddr)) continue;
    add_code({module.bias + part.p_vaddr, part.p_memsz});
  }
  module.frees_frames.store(true, std::memory_order_relaxed);
}

void patch_deletes() {
  SlotPatcher patcher;
  for (LoadedModule& module : modules())
    if (!module.unloaded.load(std::memory_order_relaxed) &&
        module.frees_frames.exchange(false, std::memory_order_relaxed))
      patch(module, patcher);
}

}  // namespace asynctrace::agent
