#include <dlfcn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include <cerrno>
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/attach/call_frame.hpp"
#include "cli/attach/loaded_files.hpp"
#include "cli/attach/refusals.hpp"
#include "cli/attach/sleep_mark.hpp"
#include "cli/attach/thread_choice.hpp"

namespace asynctrace {
namespace {

constexpr uint64_t kSigreturn = 0x7000'0000, kFunction = 0x7100'0000, kStackPointer = 0x7fff'0000'1234;

ThreadState waiting_in(long call, int64_t result) {
  ThreadState state;
  user_regs_struct& r = state.registers;
  r.rsp = kStackPointer, r.rip = 0x40'1002, r.rbx = 0xb, r.r15 = 0xf, r.eflags = 0x246, r.cs = 0x33,
  r.ss = 0x2b;
  r.orig_rax = static_cast<uint64_t>(call);
  r.rax = static_cast<uint64_t>(result);
  state.signal_mask = 0x4000;
  state.extended.resize(2696, std::byte{7});
  return state;
}

// What sigreturn would restore from the frame whose stack pointer is `at`: glibc's ucontext, without its
// header.
struct Restored {
  uint64_t rsp, rip, rax, rbx, rdi, rsi, mask, extended;
};
Restored restored_by(const std::vector<std::byte>& bytes, uint64_t start, uint64_t at) {
  const auto word = [&](size_t offset) {
    uint64_t value = 0;
    std::memcpy(&value, &bytes.at(at - start + offset), sizeof value);
    return value;
  };
  const auto of = [&](size_t offset) { return word(40 + offset); };  // struct sigcontext
  return {of(offsetof(sigcontext, rsp)),
          of(offsetof(sigcontext, rip)),
          of(offsetof(sigcontext, rax)),
          of(offsetof(sigcontext, rbx)),
          of(offsetof(sigcontext, rdi)),
          of(offsetof(sigcontext, rsi)),
          word(296),
          of(offsetof(sigcontext, fpstate))};
}

TEST(TimeLeft, IsPutWhereTheCallHasItsTime) {
  using namespace std::chrono_literals;
  user_regs_struct epoll = waiting_in(SYS_epoll_wait, -EINTR).registers;
  epoll.r10 = 1000;
  EXPECT_EQ(with_time_left(epoll, 300ms).r10, 700u);
  EXPECT_EQ(with_time_left(epoll, 300100us).r10, 700u) << "rounded up, so that it never ends too early";
  EXPECT_EQ(with_time_left(epoll, 2s).r10, 0u);
  epoll.r10 = 0xffff'ffff;
  EXPECT_EQ(with_time_left(epoll, 300ms).r10, 0xffff'ffffu) << "for ever";
  user_regs_struct poll = waiting_in(SYS_poll, -516).registers;
  poll.rdx = 500, poll.r10 = 77;
  EXPECT_EQ(with_time_left(poll, 100ms).rdx, 400u);
  EXPECT_EQ(with_time_left(poll, 100ms).r10, 77u);
  poll.rax = 0;
  EXPECT_EQ(with_time_left(poll, 100ms).rdx, 500u) << "not interrupted";
  user_regs_struct sleep = waiting_in(SYS_nanosleep, -516).registers;
  sleep.rdi = 0x1000, sleep.rsi = 0x2000;
  EXPECT_EQ(with_time_left(sleep, 100ms).rdi, 0x2000u);
  sleep.rsi = 0;
  EXPECT_EQ(with_time_left(sleep, 100ms).rdi, 0x1000u);
}

constexpr char kStat[] =
    "7 (a) b) S 1 1 1 0 -1 4194304 1 0 0 0 1 1 0 0 20 0 1 0 99 1 1 1 1 1 1 1 1 0 0 0 0 0 0 0 17 3 0 0 0 0\n";

TEST(SleepMark, IsReadFromWhatTheSchedulerTells) {
  constexpr char kSched[] =
      "busy (7, #threads: 1)\n-----\n"
      "se.exec_start                                :      36145990.871965\n"
      "se.sum_exec_runtime                          :             1.000002\n"
      "nr_switches                                  :                   12\n"
      "nr_voluntary_switches                        :                    9\n";
  const auto mark = parse_sleep_mark(kSched, kStat);
  ASSERT_TRUE(mark);
  EXPECT_EQ(mark->last_ran_ns, 36'145'990'871'965u);
  EXPECT_EQ(mark->ran_ns, 1'000'002u);
  EXPECT_EQ(mark->sleeps, 9u);
  EXPECT_EQ(mark->processor, 3);
  EXPECT_FALSE(parse_sleep_mark("se.exec_start : 1.000000\n", kStat));
  EXPECT_FALSE(parse_sleep_mark(kSched, "7 (a) S 1"));
  EXPECT_FALSE(parse_sleep_mark("", ""));
}

TEST(SleepMark, CountsOnlyOneSleepOnOneProcessor) {
  using namespace std::chrono_literals;
  const SleepMark before{1'000'000'000, 500, 9, 3};
  SleepMark stopped{1'300'000'000, 40'500, 10, 3};
  EXPECT_EQ(time_asleep(before, stopped), 300ms);
  SleepMark other = stopped;
  other.sleeps = 11;
  EXPECT_EQ(time_asleep(before, other), 0ms);
  other = stopped, other.processor = 2;
  EXPECT_EQ(time_asleep(before, other), 0ms) << "another clock";
  other = stopped, other.ran_ns = 5'000'000;
  EXPECT_EQ(time_asleep(before, other), 0ms) << "it went on meanwhile";
  other = stopped, other.last_ran_ns = 0;
  EXPECT_EQ(time_asleep(before, other), 0ms);
}

TEST(CallFrame, CallsTheFunctionAndComesBackToTheSystemCall) {
  const ThreadState state = waiting_in(SYS_epoll_wait, -EINTR);
  const CallFrame frame = make_call_frame(state, kSigreturn, kFunction, 2);
  EXPECT_EQ(frame.enter.rip, kSigreturn);
  EXPECT_EQ(frame.enter.rsp, frame.entry);
  EXPECT_EQ(frame.enter.orig_rax, ~0ull) << "the kernel is not to restart anything first";

  const Restored in = restored_by(frame.entry_bytes, frame.entry, frame.entry);
  EXPECT_EQ(in.rip, kFunction);
  EXPECT_EQ(in.rsp % 16, 8u) << "as after a call";
  EXPECT_EQ(in.rsp + 8, frame.end_stack_pointer) << "its return lets sigreturn find the return frame";
  EXPECT_EQ(in.rdi, frame.data);
  EXPECT_EQ(in.rsi, 2u);
  EXPECT_EQ(in.mask, ~0ull);
  uint64_t return_address = 0;
  std::memcpy(&return_address, &frame.bytes[in.rsp - frame.start], sizeof return_address);
  EXPECT_EQ(return_address, kSigreturn);

  const Restored back = restored_by(frame.bytes, frame.start, frame.end_stack_pointer);
  EXPECT_EQ(back.rsp, kStackPointer);
  EXPECT_EQ(back.rip, state.registers.rip - 2) << "the instruction is run again";
  EXPECT_EQ(back.rax, static_cast<uint64_t>(SYS_epoll_wait));
  EXPECT_EQ(back.rbx, 0xbu);
  EXPECT_EQ(back.mask, state.signal_mask);
  EXPECT_EQ(back.extended % 64, 0u);
  EXPECT_EQ(std::memcmp(&frame.bytes[back.extended - frame.start], state.extended.data(), 464), 0);
}

TEST(CallFrame, LeavesTheRedZoneAndItsOwnWayBackAlone) {
  const CallFrame frame = make_call_frame(waiting_in(-1, 5), kSigreturn, kFunction, 0);
  EXPECT_LE(frame.data + kMaxCallData, kStackPointer - 128);
  EXPECT_LE(frame.start + frame.bytes.size(), frame.data);
  EXPECT_LE(frame.entry + frame.entry_bytes.size(), frame.start);
}

TEST(CallFrame, ASecondCallHasTheSameWayBack) {
  const ThreadState state = waiting_in(SYS_futex, -512);
  const CallFrame first = make_call_frame(state, kSigreturn, kFunction, 2);
  const CallFrame second = make_call_frame(state, kSigreturn, kFunction + 64, 0);
  EXPECT_EQ(first.start, second.start);
  EXPECT_EQ(first.bytes, second.bytes);
}

TEST(CallFrame, ARunningThreadComesBackToItsInstruction) {
  const ThreadState state = waiting_in(-1, 77);
  const CallFrame frame = make_call_frame(state, kSigreturn, kFunction, 0);
  const Restored back = restored_by(frame.bytes, frame.start, frame.end_stack_pointer);
  EXPECT_EQ(back.rip, state.registers.rip);
  EXPECT_EQ(back.rax, 77u);
  EXPECT_EQ(resuming(state.registers).rax, 77u);
}

TEST(CallFrame, TheKernelDecidesHowAnInterruptedCallGoesOn) {
  constexpr int64_t kByHandler = -514;
  EXPECT_EQ(static_cast<int64_t>(resuming(waiting_in(SYS_epoll_wait, -EINTR).registers).rax), kByHandler);
  EXPECT_EQ(static_cast<int64_t>(resuming(waiting_in(SYS_poll, -516).registers).rax), kByHandler);
  EXPECT_EQ(static_cast<int64_t>(resuming(waiting_in(SYS_read, -512).registers).rax), -512);
  EXPECT_EQ(static_cast<int64_t>(resuming(waiting_in(SYS_read, -EINTR).registers).orig_rax), SYS_read);
  EXPECT_EQ(interrupted_call(waiting_in(SYS_read, 12).registers), -1) << "it has ended";
}

TEST(LoadedFiles, FunctionsOfThisProcess) {
  const auto files = LoadedFiles::read(getpid());
  ASSERT_TRUE(files);
  const Mapping* libc = files->library("libc.so.6");
  ASSERT_NE(libc, nullptr);
  const auto address = reinterpret_cast<uint64_t>(dlsym(RTLD_DEFAULT, "dlopen"));
  EXPECT_EQ(files->function(*libc, "dlopen"), address);
  EXPECT_THAT(files->names_at(address + 1), testing::Contains("dlopen"));
  EXPECT_FALSE(files->function(*libc, "no_such_function"));
  EXPECT_TRUE(files->is_in(*libc, address));
  EXPECT_FALSE(files->is_in(*libc, reinterpret_cast<uint64_t>(libc)));
  const auto sigreturn = files->find_code(*libc, sigreturn_code());
  ASSERT_TRUE(sigreturn);
  EXPECT_EQ(std::memcmp(reinterpret_cast<const void*>(*sigreturn), sigreturn_code().data(), 9), 0);
  EXPECT_EQ(files->library("libc.so.7"), nullptr);
  EXPECT_FALSE(LoadedFiles::read(0));
}

class UnfitStack : public testing::Test {
 protected:
  uint64_t in_libc(const char* name) { return *files_.function(libc_, name) + 4; }
  std::string judge(const std::vector<uint64_t>& pcs, bool waits) { return unfit_stack(pcs, places_, waits); }

  const LoadedFiles files_ = *LoadedFiles::read(getpid());
  const Mapping& libc_ = *files_.library("libc.so.6");
  const Places places_{files_, libc_, files_.library("ld-linux-x86-64.so.2"),
                       *files_.find_code(libc_, sigreturn_code())};
  const uint64_t own_ = reinterpret_cast<uint64_t>(&restored_by) + 4;
  const uint64_t begin_ = in_libc("__libc_start_main");
};

TEST_F(UnfitStack, WhereThreadsWait) {
  EXPECT_EQ(judge({in_libc("epoll_wait"), own_, begin_}, true), "");
  EXPECT_EQ(judge({in_libc("epoll_wait"), own_, begin_, begin_, own_}, true), "")
      << "_start is the program's";
  EXPECT_EQ(judge({own_, own_, begin_}, true), "") << "a system call of its own";
  EXPECT_NE(judge({in_libc("epoll_wait"), own_}, true), "") << "no end";
  EXPECT_NE(judge({in_libc("pause"), in_libc("malloc"), own_, begin_}, true), "");
  EXPECT_NE(judge({in_libc("pause"), in_libc("pthread_mutex_lock"), own_, begin_}, true), "");
  EXPECT_NE(judge({in_libc("epoll_wait"), own_, places_.sigreturn, in_libc("malloc"), own_, begin_}, true),
            "");
  EXPECT_NE(judge({in_libc("epoll_wait"), own_, places_.loader->start + 64, own_, begin_}, true), "");
}

TEST_F(UnfitStack, WhereThreadsRun) {
  EXPECT_EQ(judge({own_, own_, begin_}, false), "");
  EXPECT_NE(judge({in_libc("memcpy"), own_, begin_}, false), "");
  EXPECT_NE(judge({in_libc("free"), own_, begin_}, false), "");
}

TEST(PinnedProcess, IsNoLaterOneOfItsNumber) {
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  const auto pinned = PinnedProcess::pin(child);
  ASSERT_TRUE(pinned);
  EXPECT_TRUE(pinned->still_there());
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_FALSE(pinned->still_there());
  EXPECT_FALSE(PinnedProcess::pin(child));
}

}  // namespace
}  // namespace asynctrace
