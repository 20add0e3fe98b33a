#include "agent/capture/unwinder.hpp"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define UNW_LOCAL_ONLY
#include <libunwind.h>

#include "agent/capture/cfi.hpp"
#include "agent/got.hpp"
#include "agent/interpose.hpp"
#include "agent/modules.hpp"
#include "agent/patch.hpp"
#include "common/segment.hpp"

namespace asynctrace::agent {
namespace {

struct Library {
  int (*get_context)(unw_context_t*);  // unw_getcontext is a macro without a function type
  decltype(&unw_init_local) init;
  decltype(&unw_step) step;
  decltype(&unw_get_reg) get_register;
  decltype(&unw_is_signal_frame) is_signal_frame;
  decltype(&unw_set_caching_policy) set_caching_policy;
  unw_addr_space_t* address_space;
};
Library g_library;

static_assert(sizeof(unw_cursor_t) + sizeof(unw_context_t) <= kUnwindSpace);

// What libunwind may not do in someone else's process, and what it is told instead. It asks the kernel
// whether an address can be read by handing it to write(), mincore() or msync(); the agent knows the answer:
// the stack that is being walked, and the loaded modules.
struct Bounds {
  uint64_t low;
  uint64_t high;
  uint64_t space;  // the registers that the walk starts from
  bool unknown;    // where the stack lies; then the kernel is asked
};
thread_local Bounds t_walked_stack __attribute__((tls_model("initial-exec")));

// Fails either way: with EFAULT where the memory cannot be read, else for what it asks. Seccomp filters leave
// this call alone. Technique: Abseil's AddressIsReadable.
bool kernel_can_read(uint64_t address) {
  constexpr int kNoSuchAction = -1;
  constexpr uint64_t kSignalSetSize = 8;
  const auto* word = reinterpret_cast<const void*>(address & ~(kSignalSetSize - 1));
  return syscall(SYS_rt_sigprocmask, kNoSuchAction, word, nullptr, kSignalSetSize) == 0 || errno != EFAULT;
}

bool is_readable(const LoadedModule* module) {
  return module != nullptr && is_mapped(*module);
}

// It asks by pages, and a page that begins before a known range may hold the first part of it.
bool can_read(const void* memory) {
  const auto address = reinterpret_cast<uint64_t>(memory);
  const Bounds& stack = t_walked_stack;
  if (stack.unknown) return kernel_can_read(address);
  const uint64_t end_of_page = address | (segment::kPage - 1);
  return (end_of_page >= stack.low && address < stack.high) ||
         (end_of_page >= stack.space && address < stack.space + kUnwindSpace) ||
         is_readable(find_module(address)) || is_readable(find_module(end_of_page));
}

int no_pipe(int* ends, int) {
  return ends[0] = ends[1] = -1, 0;
}
ssize_t no_read(int, void*, size_t) {
  return errno = EAGAIN, -1;
}
int no_close(int) {
  return 0;
}
ssize_t check_write(int, const void* memory, size_t count) {
  return can_read(memory) ? static_cast<ssize_t>(count) : (errno = EFAULT, -1);
}
long check_syscall(long, int fd, const void* memory, size_t count) {
  return check_write(fd, memory, count);
}
int check_mincore(void* memory, size_t, unsigned char* vector) {
  *vector = 1;
  return can_read(memory) ? 0 : (errno = ENOMEM, -1);
}
int check_msync(void* memory, size_t, int) {
  return can_read(memory) ? 0 : (errno = ENOMEM, -1);
}
int no_sigprocmask(int, const sigset_t*, sigset_t*) {
  return 0;
}

struct Replacement {
  const char* name;
  void* function;
};
const Replacement kReplacements[] = {
    {"dl_iterate_phdr", reinterpret_cast<void*>(&iterate_modules)},
    {"pipe2", reinterpret_cast<void*>(&no_pipe)},
    {"read", reinterpret_cast<void*>(&no_read)},
    {"close", reinterpret_cast<void*>(&no_close)},
    {"write", reinterpret_cast<void*>(&check_write)},
    {"syscall", reinterpret_cast<void*>(&check_syscall)},
    {"mincore", reinterpret_cast<void*>(&check_mincore)},
    {"msync", reinterpret_cast<void*>(&check_msync)},
    {"sigprocmask", reinterpret_cast<void*>(&no_sigprocmask)},
};

// The library is ours alone: its slots stay as they are now.
void tame(const link_map& library) {
  SlotPatcher patcher;
  for_each_import(read_dynamic(library.l_addr, library.l_ld), [&](const Import& import) {
    if (import.is_own || import.is_plain) return;
    for (const Replacement& replacement : kReplacements)
      if (strcmp(import.name, replacement.name) == 0)
        patcher.write_for_good(import.slot, replacement.function);
  });
}

#define ASYNCTRACE_TEXT(x) #x
#define ASYNCTRACE_SYMBOL_NAME(x) ASYNCTRACE_TEXT(x)  // unw_step is a macro for the name with its target

template <typename F>
bool look_up(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(real_dlsym()(library, name));
  return function != nullptr;
}

// Whether the next step of the walk reads nothing but memory that is there. What libunwind finds by its
// tables it reads unchecked; the rules that are not plain stay near the stack pointer.
bool can_step(unw_cursor_t* cursor, uint64_t pc) {
  unw_word_t sp = 0;
  unw_word_t fp = 0;
  g_library.get_register(cursor, UNW_REG_SP, &sp);
  g_library.get_register(cursor, UNW_X86_64_RBP, &fp);
  constexpr uint64_t kNear = 1024;  // what the kernel pushes for a signal, vector registers aside
  const FrameRule rule = frame_rule(pc);
  if (!rule.plain) return kernel_can_read(sp) && kernel_can_read(sp + kNear);
  const bool by_fp = rule.base == FrameRule::Base::kFramePointer;
  const uint64_t cfa = (by_fp ? fp : sp) + static_cast<uint64_t>(rule.cfa_offset);
  return kernel_can_read(cfa - 8) &&
         (!rule.saves_frame_pointer || kernel_can_read(cfa + static_cast<uint64_t>(rule.saved_at)));
}

}  // namespace

bool start_unwinder() {
  void* library = dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return false;
  link_map* map = nullptr;
  const bool found =
      look_up(library, "_Ux86_64_getcontext", g_library.get_context) &&
      look_up(library, ASYNCTRACE_SYMBOL_NAME(unw_init_local), g_library.init) &&
      look_up(library, ASYNCTRACE_SYMBOL_NAME(unw_step), g_library.step) &&
      look_up(library, ASYNCTRACE_SYMBOL_NAME(unw_get_reg), g_library.get_register) &&
      look_up(library, ASYNCTRACE_SYMBOL_NAME(unw_is_signal_frame), g_library.is_signal_frame) &&
      look_up(library, ASYNCTRACE_SYMBOL_NAME(unw_set_caching_policy), g_library.set_caching_policy) &&
      look_up(library, ASYNCTRACE_SYMBOL_NAME(unw_local_addr_space), g_library.address_space) &&
      dlinfo(library, RTLD_DI_LINKMAP, &map) == 0;
  if (!found) return false;
  tame(*map);
  // Its cache of unwind rules sits behind a lock; a path is walked once, so there is nothing worth caching.
  g_library.set_caching_policy(*g_library.address_space, UNW_CACHE_NONE);
  return true;
}

Walk walk_stack(void* space, uint64_t caller_sp, uint64_t root, uint64_t stack_end,
                std::span<WalkedFrame> frames) {
  t_walked_stack = {reinterpret_cast<uint64_t>(__builtin_frame_address(0)), stack_end,
                    reinterpret_cast<uint64_t>(space), false};
  auto* context = static_cast<unw_context_t*>(space);
  auto* cursor = reinterpret_cast<unw_cursor_t*>(context + 1);
  if (g_library.get_context(context) != 0 || g_library.init(cursor, context) != 0)
    return {0, WalkEnd::kBroken};
  Walk walk{0, WalkEnd::kBroken};
  uint64_t pc = 0;  // of the frame whose CFA the next step tells
  for (;;) {
    const int result = g_library.step(cursor);
    unw_word_t sp = 0;
    unw_word_t ip = 0;
    g_library.get_register(cursor, UNW_REG_SP, &sp);
    g_library.get_register(cursor, UNW_REG_IP, &ip);
    if (result < 0) return walk;
    if (result == 0) {
      // The thread's first function: it has no caller, so its own frame is the last one.
      if (pc != 0 && walk.count < frames.size()) frames[walk.count++] = {pc, 0};
      walk.end = WalkEnd::kOutermost;
      return walk;
    }
    if (pc != 0) {
      if (root != 0 && sp > root) {
        walk.end = WalkEnd::kRoot;
        return walk;
      }
      if (walk.count == frames.size()) {
        walk.end = WalkEnd::kFull;
        return walk;
      }
      frames[walk.count++] = {pc, sp};
    }
    if (sp >= caller_sp) pc = ip;  // below it lie the hook's own frames
  }
}

Walk walk_registers(void* space, const CallerRegisters& registers, std::span<WalkedFrame> frames) {
  t_walked_stack = {0, 0, 0, true};
  auto* context = static_cast<unw_context_t*>(space);
  auto* cursor = reinterpret_cast<unw_cursor_t*>(context + 1);
  memset(context, 0, sizeof(*context));
  greg_t* const saved = context->uc_mcontext.gregs;
  saved[REG_RIP] = static_cast<greg_t>(registers.return_address);
  saved[REG_RSP] = static_cast<greg_t>(registers.stack_pointer);
  saved[REG_RBP] = static_cast<greg_t>(registers.rbp);
  saved[REG_RBX] = static_cast<greg_t>(registers.rbx);
  saved[REG_R12] = static_cast<greg_t>(registers.r12);
  saved[REG_R13] = static_cast<greg_t>(registers.r13);
  saved[REG_R14] = static_cast<greg_t>(registers.r14);
  saved[REG_R15] = static_cast<greg_t>(registers.r15);
  Walk walk{0, WalkEnd::kBroken};
  if (g_library.init(cursor, context) != 0) return walk;
  for (bool interrupted = false;;) {
    unw_word_t pc = 0;
    g_library.get_register(cursor, UNW_REG_IP, &pc);
    if (walk.count == frames.size()) return {walk.count, WalkEnd::kFull};
    frames[walk.count++] = {interrupted ? pc + 1 : pc, 0};
    const uint64_t shown = frames[walk.count - 1].pc;
    if (!has_unwind_table(shown) || !can_step(cursor, shown)) return walk;
    interrupted = g_library.is_signal_frame(cursor) > 0;
    const int result = g_library.step(cursor);
    if (result < 0) return walk;
    if (result == 0) return {walk.count, WalkEnd::kOutermost};
  }
}

}  // namespace asynctrace::agent
