#include <asm/sigcontext.h>
#include <sys/syscall.h>
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "cli/attach/call_frame.hpp"

namespace asynctrace {
namespace {

// The kernel's struct ucontext as far as sigreturn reads it; glibc's header cannot be had beside the
// kernel's.
struct KernelContext {
  uint64_t flags;
  uint64_t link;
  uint64_t stack[3];  // an alternate stack of size 0 is refused and leaves the thread's own as it is
  sigcontext machine;
  uint64_t signal_mask;
};
static_assert(sizeof(sigcontext) == 256 && sizeof(KernelContext) == 304);

constexpr uint64_t kHasExtendedState = 1, kHasStackSegment = 2, kRestoresStackSegment = 4;  // UC_*
constexpr uint64_t kRedZone = 128;
constexpr size_t kSoftwareBytes = 464;  // of struct _fpx_sw_bytes in the legacy area
constexpr uint64_t kNoSystemCall = ~uint64_t{0};
constexpr uint64_t kSyscallInstruction = 2;                                        // bytes
constexpr std::string_view kSigreturn("\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05", 9);  // mov $15, %rax; syscall
// Inside the kernel only, but for a tracer (include/linux/errno.h).
constexpr int64_t kRestartSys = -512, kRestartNoIntr = -513, kRestartNoHand = -514, kRestartBlock = -516;

uint64_t align_down(uint64_t value, uint64_t unit) {
  return value & ~(unit - 1);
}

KernelContext context_of(const user_regs_struct& r) {
  KernelContext context{};
  context.flags = kHasStackSegment | kRestoresStackSegment;
  sigcontext& m = context.machine;
  m.r8 = r.r8, m.r9 = r.r9, m.r10 = r.r10, m.r11 = r.r11;
  m.r12 = r.r12, m.r13 = r.r13, m.r14 = r.r14, m.r15 = r.r15;
  m.rdi = r.rdi, m.rsi = r.rsi, m.rbp = r.rbp, m.rbx = r.rbx;
  m.rdx = r.rdx, m.rax = r.rax, m.rcx = r.rcx, m.rsp = r.rsp;
  m.rip = r.rip, m.eflags = r.eflags;
  m.cs = static_cast<uint16_t>(r.cs), m.ss = static_cast<uint16_t>(r.ss);
  return context;
}

// Without the frame of a handler there is no one who could restart the call, so its instruction is run again.
user_regs_struct before_system_call(user_regs_struct r) {
  r.rax = r.orig_rax;
  r.rip -= kSyscallInstruction;
  return r;
}

template <typename T>
void put(CallFrame& frame, uint64_t address, const T& value) {
  std::memcpy(&frame.bytes[address - frame.start], &value, sizeof(value));
}

// As the kernel writes it for a handler: without these marks it would take no more than the legacy part.
void put_extended_state(CallFrame& frame, uint64_t address, const std::vector<std::byte>& extended) {
  const auto size = static_cast<uint32_t>(extended.size());
  _fpx_sw_bytes marks{};
  marks.magic1 = FP_XSTATE_MAGIC1;
  marks.extended_size = size + FP_XSTATE_MAGIC2_SIZE;
  std::memcpy(&marks.xfeatures, &extended[kSoftwareBytes],
              sizeof(marks.xfeatures));  // ptrace puts XCR0 there
  marks.xstate_size = size;
  std::memcpy(&frame.bytes[address - frame.start], extended.data(), extended.size());
  put(frame, address + kSoftwareBytes, marks);
  put(frame, address + size, uint32_t{FP_XSTATE_MAGIC2});
}

}  // namespace

std::string_view sigreturn_code() {
  return kSigreturn;
}

CallFrame make_call_frame(const ThreadState& state, uint64_t sigreturn, uint64_t function, uint64_t flags) {
  const user_regs_struct& r = state.registers;
  const uint64_t top = align_down(r.rsp - kRedZone, 64);
  CallFrame frame;
  frame.data = align_down(top - kMaxCallData, 64);
  const uint64_t extended = align_down(frame.data - state.extended.size() - FP_XSTATE_MAGIC2_SIZE, 64);
  frame.end_stack_pointer = align_down(extended - sizeof(KernelContext), 64);
  const uint64_t return_address = frame.end_stack_pointer - sizeof(uint64_t);
  frame.entry = align_down(return_address - sizeof(KernelContext), 64);
  frame.start = return_address;
  frame.bytes.resize(frame.data - frame.start);

  KernelContext after = context_of(interrupted_call(r) >= 0 ? before_system_call(r) : r);
  after.flags |= kHasExtendedState;
  after.machine.fpstate = reinterpret_cast<_fpstate*>(extended);
  after.signal_mask = state.signal_mask;
  put_extended_state(frame, extended, state.extended);
  put(frame, frame.end_stack_pointer, after);
  put(frame, return_address, sigreturn);

  user_regs_struct in_function{};
  in_function.cs = r.cs, in_function.ss = r.ss;
  in_function.rip = function;
  in_function.rsp = return_address;
  in_function.rdi = frame.data;
  in_function.rsi = flags;
  in_function.eflags = 0x202;                     // interrupts on, all else clear
  KernelContext entry = context_of(in_function);  // no floating-point state: that of a new program
  entry.signal_mask = ~uint64_t{0};
  frame.entry_bytes.resize(sizeof(entry));
  std::memcpy(frame.entry_bytes.data(), &entry, sizeof(entry));

  frame.enter = r;
  frame.enter.rip = sigreturn;
  frame.enter.rsp = frame.entry;
  frame.enter.orig_rax = kNoSystemCall;
  frame.enter.rax = 0;
  frame.put_back = frame.enter;
  frame.put_back.rsp = frame.end_stack_pointer;
  return frame;
}

bool is_end_of(const CallFrame& frame, const user_regs_struct& registers) {
  return registers.orig_rax == SYS_rt_sigreturn && registers.rsp == frame.end_stack_pointer;
}

long interrupted_call(const user_regs_struct& registers) {
  const auto result = static_cast<int64_t>(registers.rax);
  const bool restarts = result == kRestartSys || result == kRestartNoIntr || result == kRestartNoHand ||
                        result == kRestartBlock || result == -EINTR;
  return static_cast<int64_t>(registers.orig_rax) >= 0 && restarts ? static_cast<long>(registers.orig_rax)
                                                                   : -1;
}

user_regs_struct resuming(const user_regs_struct& at_stop) {
  user_regs_struct r = at_stop;
  if (interrupted_call(r) < 0) return r;
  const auto result = static_cast<int64_t>(r.rax);
  // What a call that was cut short keeps in the kernel to go on from is lost by sigreturn: it begins anew,
  // see with_time_left(). And epoll_wait gives EINTR even for an interruption that no handler sees.
  if (result == kRestartBlock || result == -EINTR) r.rax = static_cast<uint64_t>(kRestartNoHand);
  return r;
}

user_regs_struct with_time_left(const user_regs_struct& at_stop, std::chrono::nanoseconds waited) {
  user_regs_struct r = at_stop;
  // In milliseconds; what is not positive is no time.
  const auto shorten = [&](unsigned long long& register_value) {
    const std::chrono::milliseconds whole(static_cast<int32_t>(register_value));
    if (whole.count() <= 0) return;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(whole - waited);
    register_value = static_cast<uint64_t>(std::max(left.count(), std::chrono::milliseconds::rep{0}));
  };
  // Two timespecs, of which the second, where there is one, has got what is left.
  const auto take_rest = [&](unsigned long long& wanted, unsigned long long rest) {
    if (rest != 0 && static_cast<int64_t>(r.rax) == kRestartBlock) wanted = rest;
  };
  switch (interrupted_call(r)) {
    case SYS_epoll_wait:
    case SYS_epoll_pwait: shorten(r.r10); break;
    case SYS_poll: shorten(r.rdx); break;
    case SYS_nanosleep: take_rest(r.rdi, r.rsi); break;
    case SYS_clock_nanosleep: take_rest(r.rdx, r.r10); break;
    default: break;
  }
  return r;
}

}  // namespace asynctrace
