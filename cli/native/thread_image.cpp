#include "cli/native/thread_image.hpp"

#include <sys/uio.h>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "cli/native/stopped_thread.hpp"
#include "cli/process/file_descriptor.hpp"

namespace asynctrace {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kMaxStack = 1 << 20;
constexpr int kLooks = 4;  // at a thread that wakes up while it is read

struct Sleeping {
  uint64_t stack_pointer = 0, program_counter = 0;
};

// Of the text of /proc/PID/task/TID/syscall: "NUMBER ARGUMENTS.. SP PC", or "running".
std::optional<Sleeping> parse_sleeping(std::string_view text) {
  const auto last_number = [&]() -> std::optional<uint64_t> {
    const size_t space = text.rfind(' ');
    if (space == std::string_view::npos || !text.substr(space + 1).starts_with("0x")) return std::nullopt;
    const std::string_view digits = text.substr(space + 3);
    text = text.substr(0, space);
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
    return value;
  };
  if (text.ends_with('\n')) text.remove_suffix(1);
  const auto program_counter = last_number();
  const auto stack_pointer = program_counter ? last_number() : std::nullopt;
  if (!stack_pointer) return std::nullopt;
  return Sleeping{*stack_pointer, *program_counter};
}

// Nothing: it runs, or did not sleep for long enough.
Result<std::optional<ThreadImage>> copy_sleeping(pid_t pid, pid_t tid) {
  const std::string directory = fmt::format("/proc/{}/task/{}", pid, tid);
  // Its counts of context switches tell whether it has run.
  const auto moment = [&]() {
    const std::string status = read_file(directory + "/status").value_or("");
    const size_t counts = status.find("\nvoluntary_ctxt_switches");
    return counts == std::string::npos ? std::string() : status.substr(counts);
  };
  for (int look = 0; look < kLooks; ++look) {
    const std::string before = moment();
    const auto call = read_file(directory + "/syscall");
    if (!call) return fail(why_not_permitted(tid, errno));
    const auto sleeping = parse_sleeping(*call);
    if (!sleeping) return std::nullopt;
    ThreadImage image;
    image.registers[kStackPointer] = sleeping->stack_pointer;
    image.registers[kProgramCounter] = sleeping->program_counter;
    copy_stack(pid, sleeping->stack_pointer, image);
    if (!before.empty() && moment() == before && read_file(directory + "/syscall") == call) return image;
  }
  return std::nullopt;
}

}  // namespace

// Page by page, so that what lies behind the end of the stack costs only itself.
void copy_stack(pid_t pid, uint64_t stack_pointer, ThreadImage& image) {
  image.stack_start = stack_pointer & ~(kPage - 1);
  image.stack.resize(kMaxStack);
  std::array<iovec, kMaxStack / kPage> pages;
  for (size_t i = 0; i < pages.size(); ++i)
    pages[i] = {reinterpret_cast<void*>(image.stack_start + i * kPage), kPage};
  const iovec into{image.stack.data(), image.stack.size()};
  const ssize_t copied = ::process_vm_readv(pid, &into, 1, pages.data(), pages.size(), 0);
  image.stack.resize(copied > 0 ? static_cast<size_t>(copied) : 0);
}

Result<ThreadImage> copy_stopped_thread(pid_t pid, pid_t tid) {
  using Clock = std::chrono::steady_clock;
  ThreadImage image;
  image.stack.reserve(kMaxStack);
  const auto began = Clock::now();
  {
    const auto held = StoppedThread::stop(tid);
    if (!held) return tl::unexpected(held.error());
    const user_regs_struct& from = held->registers();
    image.registers = {from.rax, from.rdx, from.rcx, from.rbx, from.rsi, from.rdi,
                       from.rbp, from.rsp, from.r8,  from.r9,  from.r10, from.r11,
                       from.r12, from.r13, from.r14, from.r15, from.rip};
    copy_stack(pid, from.rsp, image);
  }
  image.stopped_ns = static_cast<uint64_t>(std::chrono::nanoseconds(Clock::now() - began).count());
  return image;
}

Result<ThreadImage> copy_thread(pid_t pid, pid_t tid, bool may_stop) {
  auto sleeping = copy_sleeping(pid, tid);
  if (!sleeping) return tl::unexpected(sleeping.error());
  if (*sleeping) return std::move(**sleeping);
  if (!may_stop) return fail("it runs, and --no-stop leaves it alone");
  return copy_stopped_thread(pid, tid);
}

}  // namespace asynctrace
