// Threads of a forked child, looked at while they run, sleep, wait for events, get signals and are stopped.
#include "cli/native/thread_image.hpp"

#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <functional>
#include <string>

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/process/proc.hpp"

namespace asynctrace {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

struct Shared {
  std::atomic<bool> ready;
  std::atomic<uint64_t> rounds, signals, interrupted;
};
Shared* g_shared;

// A child that runs `body` for ever; killed at the end.
class Child {
 public:
  explicit Child(const std::function<void()>& body) {
    g_shared = static_cast<Shared*>(
        ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    pid_ = ::fork();
    if (pid_ == 0) {
      body();
      ::_exit(1);
    }
    while (!g_shared->ready) ::usleep(100);
  }
  ~Child() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    ::munmap(g_shared, sizeof(Shared));
  }
  pid_t pid() const { return pid_; }
  char state() const { return read_stat(pid_).value_or(ProcStat{}).state; }
  void wait_for_state(char wanted) const {
    while (state() != wanted) ::usleep(100);
  }

 private:
  pid_t pid_;
};

extern "C" {
[[gnu::noinline]] __attribute__((visibility("default"))) void spin_here() {
  g_shared->ready = true;
  for (;;) {
    g_shared->rounds.fetch_add(1, std::memory_order_relaxed);
    asm volatile("");
  }
}
[[gnu::noinline]] __attribute__((visibility("default"))) void sleep_here() {
  g_shared->ready = true;
  for (;;) ::pause();
}
}

void wait_for_events() {
  epoll_event event;
  const int epoll = ::epoll_create1(0);
  g_shared->ready = true;
  for (;;) {
    if (::epoll_wait(epoll, &event, 1, 1) < 0 && errno == EINTR) ++g_shared->interrupted;
    ++g_shared->rounds;
  }
}

// Whether the address lies in a function of this program that begins at `function`.
bool is_in(uint64_t pc, void (*function)()) {
  const auto start = reinterpret_cast<uint64_t>(function);
  return pc > start && pc < start + 256;
}

size_t frames_in(pid_t pid, const ThreadImage& image, void (*function)()) {
  const auto pcs = native_stack_of_image(pid, pid, image);
  EXPECT_TRUE(pcs) << pcs.error().message;
  return pcs ? static_cast<size_t>(
                   std::count_if(pcs->begin(), pcs->end(), [&](uint64_t pc) { return is_in(pc, function); }))
             : 0;
}

TEST(ThreadImage, OfAThreadThatRuns) {
  const Child child(spin_here);
  EXPECT_THAT(copy_thread(child.pid(), child.pid(), false).error().message, HasSubstr("--no-stop"));
  const auto image = copy_thread(child.pid(), child.pid(), true);
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_GT(image->stopped_ns, 0u);
  EXPECT_EQ(frames_in(child.pid(), *image, spin_here), 1u);
  const uint64_t rounds = g_shared->rounds;
  while (g_shared->rounds == rounds) ::usleep(100);
}

TEST(ThreadImage, OfAThreadThatSleepsWithoutStoppingIt) {
  const Child child(sleep_here);
  child.wait_for_state('S');
  const auto image = copy_thread(child.pid(), child.pid(), false);
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ(image->stopped_ns, 0u);
  EXPECT_EQ(frames_in(child.pid(), *image, sleep_here), 1u);
}

TEST(ThreadImage, EverySignalArrives) {
  constexpr uint64_t kSignals = 200;
  const Child child([] {
    ::signal(SIGRTMIN, [](int) { ++g_shared->signals; });
    spin_here();
  });
  for (uint64_t i = 0; i < kSignals; ++i) {
    ASSERT_EQ(::kill(child.pid(), SIGRTMIN), 0);
    const auto image = copy_thread(child.pid(), child.pid(), true);
    ASSERT_TRUE(image) << image.error().message;
  }
  while (g_shared->signals < kSignals) ::usleep(100);
  EXPECT_EQ(g_shared->signals, kSignals);
}

TEST(ThreadImage, NoSystemCallIsInterrupted) {
  const Child child(wait_for_events);
  for (int i = 0; i < 300; ++i) {
    const auto image = copy_thread(child.pid(), child.pid(), true);
    ASSERT_TRUE(image) << image.error().message;
    // Not in step with its millisecond.
    for (const uint64_t until = g_shared->rounds + static_cast<uint64_t>(i % 3); g_shared->rounds < until;)
      ::usleep(37);
  }
  EXPECT_EQ(g_shared->interrupted, 0u);
}

TEST(ThreadImage, AStoppedProcessStaysStopped) {
  const Child child(spin_here);
  ::kill(child.pid(), SIGSTOP);
  child.wait_for_state('T');
  const auto image = copy_thread(child.pid(), child.pid(), true);
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ(child.state(), 'T');
  ::kill(child.pid(), SIGCONT);
  const uint64_t rounds = g_shared->rounds;
  while (g_shared->rounds == rounds) ::usleep(100);
}

TEST(ThreadImage, SaysWhyThereIsNone) {
  pid_t ended = 0;
  {
    const Child child(spin_here);
    ended = child.pid();
    // Another debugger holds it.
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t debugger = ::fork();
    if (debugger == 0) {
      const char ok = ::ptrace(PTRACE_SEIZE, child.pid(), 0, 0) == 0;
      [[maybe_unused]] const ssize_t told = ::write(ready[1], &ok, 1);
      for (;;) ::pause();
    }
    char ok = 0;
    ASSERT_EQ(::read(ready[0], &ok, 1), 1);
    EXPECT_EQ(ok, 1);
    EXPECT_EQ(copy_thread(child.pid(), child.pid(), true).error().message,
              "process " + std::to_string(debugger) + " debugs it");
    ::kill(debugger, SIGKILL);
    ::waitpid(debugger, nullptr, 0);
  }
  EXPECT_EQ(copy_thread(ended, ended, true).error().message, "the thread has ended");
}

}  // namespace
}  // namespace asynctrace
