// Preloaded beside the agent: makes a task's kill(getpid(), SIGKILL) crash in the way that
// CRASH names, or makes a fault before main that its own handler survives. Its lines are part of the tests.
#include <assert.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <stdexcept>

static sigjmp_buf g_back;

static bool is(const char* how) {
  const char* wanted = getenv("CRASH");
  return wanted != nullptr && strcmp(wanted, how) == 0;
}

__attribute__((noinline)) static int overflow(volatile char* above) {
  volatile char block[4096];
  block[0] = above[0];
  return overflow(block) + block[0];  // OVERFLOW
}

__attribute__((noinline)) static void fail_an_assertion(int signal) {
  assert(signal == 0);  // ASSERT
}

__attribute__((noinline)) static void terminate_by_exception() noexcept {
  throw std::runtime_error("thrown");  // TERMINATE
}

static void survive(int) {
  siglongjmp(g_back, 1);
}

__attribute__((constructor)) static void fault_and_survive() {
  if (!is("survive")) return;
  struct sigaction action = {}, before;
  action.sa_handler = survive;
  sigaction(SIGSEGV, &action, &before);
  for (volatile int i = 0; i < 3; i = i + 1)
    if (sigsetjmp(g_back, 1) == 0) *(volatile int*)8 = 1;
  sigaction(SIGSEGV, &before, nullptr);
}

extern "C" int kill(pid_t pid, int signal) {
  volatile char first = 0;
  if (signal != SIGKILL) return (int)syscall(SYS_kill, pid, signal);
  if (is("assert")) fail_an_assertion(signal);
  if (is("terminate")) terminate_by_exception();
  if (is("overflow")) return overflow(&first);
  return raise(signal);
}
