#include "cli/attach/thread_choice.hpp"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <thread>

#include <fmt/format.h>

#include "cli/attach/target_memory.hpp"
#include "cli/native/native_stack.hpp"
#include "cli/native/thread_image.hpp"
#include "cli/process/file_descriptor.hpp"

namespace asynctrace {
namespace {

// System calls in which threads wait, the best to be interrupted first. What is not here (a lock of the
// kernel's file systems, vfork) is left alone.
constexpr long kWaits[] = {
    SYS_epoll_wait,
    SYS_epoll_pwait,
    441 /* epoll_pwait2 */,
    SYS_poll,
    SYS_ppoll,
    SYS_select,
    SYS_pselect6,
    SYS_futex,
    SYS_pause,
    SYS_rt_sigsuspend,
    SYS_accept,
    SYS_accept4,
    SYS_recvfrom,
    SYS_recvmsg,
    SYS_read,
    SYS_wait4,
    SYS_waitid,
    SYS_rt_sigtimedwait,
    426 /* io_uring_enter */,
    SYS_nanosleep,
    SYS_clock_nanosleep,
};
// Between two looks at all threads.
constexpr auto kFirstPause = std::chrono::microseconds(200), kLongestPause = std::chrono::microseconds(5000);
constexpr const char* kInLibc = "it is in libc, where it may hold a lock";
constexpr size_t kRuns = std::size(kWaits);
constexpr size_t kElsewhere = kRuns + 1;

struct Candidate {
  pid_t tid = 0;
  size_t rank = kElsewhere;
};

size_t rank_of(pid_t pid, pid_t tid) {
  const std::string call = read_file(fmt::format("/proc/{}/task/{}/syscall", pid, tid)).value_or("");
  if (call.starts_with("running")) return kRuns;
  long number = -1;
  std::from_chars(call.data(), call.data() + call.size(), number);
  const auto* found = std::find(std::begin(kWaits), std::end(kWaits), number);
  return found != std::end(kWaits) ? static_cast<size_t>(found - kWaits) : kElsewhere;
}

std::vector<Candidate> candidates(pid_t pid) {
  std::vector<Candidate> threads;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), error)) {
    const std::string name = entry.path().filename();
    pid_t tid = 0;
    std::from_chars(name.data(), name.data() + name.size(), tid);
    threads.push_back({tid, rank_of(pid, tid)});
  }
  std::stable_sort(threads.begin(), threads.end(),
                   [](const Candidate& a, const Candidate& b) { return a.rank < b.rank; });
  return threads;
}

ThreadImage image_of(pid_t pid, const user_regs_struct& r) {
  ThreadImage image;
  image.registers = {r.rax, r.rdx, r.rcx, r.rbx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8,
                     r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rip};
  copy_stack(pid, r.rsp, image);
  return image;
}

// Whether a stack that was judged while the thread slept is still what it was, now that it is held.
bool is_same(pid_t pid, const ThreadImage& before, const user_regs_struct& registers) {
  if (before.registers[kStackPointer] != registers.rsp ||
      before.registers[kProgramCounter] != registers.rip || interrupted_call(registers) < 0)
    return false;
  const size_t offset = registers.rsp - before.stack_start;
  if (offset >= before.stack.size()) return false;
  std::vector<std::byte> now(std::min(before.stack.size() - offset, size_t{kStackNeeded}));
  return read_memory(pid, registers.rsp, now) && std::equal(now.begin(), now.end(), &before.stack[offset]);
}

// "": there is room. Only the thread's own stack will do: below one that the program has made itself, for a
// coroutine, anything may lie.
std::string unfit_room(pid_t pid, const user_regs_struct& registers, const LoadedFiles& files) {
  const Mapping* stack = files.mapping_of(registers.rsp);
  const Mapping* below = stack != nullptr ? files.mapping_of(stack->start - 1) : nullptr;
  const bool is_main = stack != nullptr && stack->path == "[stack]";
  // glibc keeps a thread's descriptor at the top of its stack, and a guard below.
  const bool is_its_own = stack != nullptr && stack->contains(registers.fs_base) && below != nullptr &&
                          !below->readable && !below->writable;
  if (!is_main && !is_its_own) return "it runs on a stack of the program's own making";
  const uint64_t used = stack->end - registers.rsp;
  uint64_t room = registers.rsp - stack->start;
  if (is_main) {
    rlimit limit{};
    if (::prlimit(pid, RLIMIT_STACK, nullptr, &limit) == 0)
      room = limit.rlim_cur > used ? limit.rlim_cur - used : 0;
    // The frame itself is written from outside, where the kernel lets no stack grow.
    if (registers.rsp - stack->start < (32 << 10)) room = 0;
  }
  return room < kStackNeeded ? "its stack has too little room" : "";
}

// Whether a thread that sleeps elsewhere holds the loader's lock: then the one that loads would wait for it,
// and perhaps it for that one.
std::string loads_something(pid_t pid, const std::vector<Candidate>& threads, const Places& places) {
  if (places.loader == nullptr) return {};
  for (const Candidate& thread : threads) {
    if (thread.rank == kRuns) continue;
    const auto image = copy_thread(pid, thread.tid, false);
    if (!image) continue;
    const auto points_there = [&](size_t at) {
      uint64_t word = 0;
      std::memcpy(&word, &image->stack[at], sizeof word);
      const Mapping* mapping = places.files.mapping_of(word);
      return mapping != nullptr && mapping->executable && mapping->inode == places.loader->inode;
    };
    bool suspicious = false;
    for (size_t at = 0; at + 8 <= std::min(image->stack.size(), size_t{64 << 10}); at += 8)
      suspicious = suspicious || points_there(at);
    if (!suspicious) continue;
    const auto pcs = native_stack_of_image(pid, thread.tid, *image);
    const auto in_loader = [&](uint64_t pc) { return places.files.is_in(*places.loader, pc); };
    if (pcs && std::any_of(pcs->begin(), pcs->end(), in_loader))
      return fmt::format("thread {} is in the dynamic loader and waits there", thread.tid);
  }
  return {};
}

Result<HeldThread> hold(pid_t pid, const Candidate& thread, const Places& places, Deadline deadline) {
  const auto unfit = [&](const std::string& why) {
    return fail(fmt::format("thread {}: {}", thread.tid, why));
  };
  const bool waits = thread.rank < kRuns;
  std::optional<ThreadImage> before;
  if (waits) {
    auto image = copy_thread(pid, thread.tid, false);
    if (!image) return unfit(image.error().message);
    const auto pcs = native_stack_of_image(pid, thread.tid, *image);
    if (!pcs) return unfit(pcs.error().message);
    if (const std::string why = unfit_stack(*pcs, places, true); !why.empty()) return unfit(why);
    before = std::move(*image);
  }
  auto held = HeldThread::stop(pid, thread.tid, deadline);
  if (!held) return held;
  const user_regs_struct& registers = held->registers();
  if (places.files.is_in(places.libc, registers.rip)) held->keep_time();
  if (const std::string why = unfit_room(pid, registers, places.files); !why.empty()) return unfit(why);
  if (held->is_in_restartable_sequence()) return unfit("it is in a restartable sequence");
  if (before && is_same(pid, *before, registers)) return held;
  // Short of a walk, for a thread that allocates all the time has to be caught between two calls.
  if (interrupted_call(registers) < 0 && places.files.is_in(places.libc, registers.rip))
    return unfit(kInLibc);
  // It has been running, so it is judged while it is held.
  const auto pcs = native_stack_of_image(pid, thread.tid, image_of(pid, registers));
  if (!pcs) return unfit(pcs.error().message);
  const std::string why = unfit_stack(*pcs, places, interrupted_call(registers) >= 0);
  return why.empty() ? std::move(held) : unfit(why);
}

}  // namespace

std::string unfit_stack(const std::vector<uint64_t>& pcs, const Places& places, bool waits) {
  const auto in_libc = [&](uint64_t pc) { return places.files.is_in(places.libc, pc); };
  constexpr uint64_t kLengthOfSigreturn = 16;
  for (const uint64_t pc : pcs) {
    if (places.loader != nullptr && places.files.is_in(*places.loader, pc))
      return "it is in the dynamic loader";
    if (pc - places.sigreturn < kLengthOfSigreturn) return "it is in a signal handler";
  }
  // The outermost function is one of libc, or the program's _start below one.
  const size_t count = pcs.size();
  const bool complete = count >= 2 && (in_libc(pcs.back()) ||
                                       (count > 3 && in_libc(pcs[count - 2]) && in_libc(pcs[count - 3])));
  if (!complete) return "its stack cannot be walked to its end";
  if (!waits) {
    if (in_libc(pcs.front())) return kInLibc;
    for (const uint64_t pc : pcs) {
      const Mapping* module = places.files.file_of(pc);
      if (module != nullptr && !in_libc(pc) && places.files.function(*module, "malloc"))
        return "it may be in the program's own allocator";
    }
    return "";
  }
  // The function of libc that it called, where it called one, must be one to wait in.
  const auto outside = std::find_if_not(pcs.begin(), pcs.end(), in_libc);
  if (outside == pcs.begin()) return "";
  const std::vector<std::string> called = places.files.names_at(*(outside - 1) - 1);
  constexpr std::string_view kLocks[] = {
      "malloc",  "calloc",      "realloc",        "free",        "memalign", "aligned_alloc",     "valloc",
      "pvalloc", "malloc_trim", "posix_memalign", "malloc_info", "fork",     "pthread_mutex_lock"};
  const bool waits_for_lock = std::any_of(called.begin(), called.end(), [&](const std::string& name) {
    return std::find(std::begin(kLocks), std::end(kLocks), name) != std::end(kLocks);
  });
  return called.empty() || waits_for_lock ? "it waits for a lock, perhaps in the allocator" : "";
}

Result<HeldThread> hold_fit_thread(pid_t pid, const Places& places, Deadline deadline) {
  Error last{"it has no thread", {}};
  for (auto pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    const std::vector<Candidate> threads = candidates(pid);
    if (const std::string why = loads_something(pid, threads, places); !why.empty()) {
      last = {why, {}};
    } else {
      for (const Candidate& thread : threads) {
        if (thread.rank == kElsewhere) continue;
        auto held = hold(pid, thread, places, deadline);
        if (held) return held;
        last = held.error();
      }
    }
    if (std::chrono::steady_clock::now() + pause >= deadline) break;
    std::this_thread::sleep_for(pause);
  }
  return fail(fmt::format("no thread of process {} can load the agent: {}", pid, last.message),
              last.remedy.empty() ? "try again" : last.remedy);
}

}  // namespace asynctrace
