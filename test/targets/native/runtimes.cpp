// runtimes single|multi|forked [blocked]: a runtime that waits in its poll loop, with tasks that wait in ways
// that the LEAF lines tell: name, kind, lines of the awaits from the outermost on. Ends with stdin.
// `blocked`: a task blocks its worker until then. `forked`: as `single`, with a child by fork that only waits
// for the end of stdin.
#include <fcntl.h>

#include <cstdio>
#include <cstring>

#include "multi_thread.hpp"
#include "single_thread.hpp"

namespace shop {

using namespace std::chrono_literals;
using native::Channel;
using native::Read;
using native::Sleep;
using native::Task;

// Notes the line of an await.
template <typename A>
A&& at(int& place, A&& awaitable, int line = __builtin_LINE()) {
  place = line;
  return std::forward<A>(awaitable);
}

int g_a, g_b, g_c, g_clerk, g_quiet;
Channel<int> g_orders;

// Waits for ever and tells nobody: only a poll finds it.
class Quiet : public native::Leaf {
 public:
  Quiet() : Leaf("quiet", ASYNCTRACE_UNKNOWN) {}
  void await_resume() const {}

 private:
  bool tells() const override { return false; }
  bool ready_or_arm(const native::Waker&) override { return false; }
};

Task<> c() {
  co_await at(g_c, Sleep(1h));
}
Task<> b() {
  co_await Sleep(1ms);  // from here on its awaiters are on no stack
  co_await at(g_b, c());
}
Task<> a() {
  co_await at(g_a, b());
}
Task<> clerk() {
  for (;;) {
    const int order = co_await at(g_clerk, g_orders.receive());
    if (order == 0) break;
  }
}
Task<> quiet() {
  co_await at(g_quiet, Quiet());
}
Task<> end_with_stdin(std::atomic<bool>& over) {
  for (;;) {
    const auto byte = co_await Read(STDIN_FILENO);
    if (!byte) break;
  }
  over = true;
  over.notify_one();
  native::Runtime::current()->reactor().wake_up();
}

template <typename Runtime>
void spawn_all(Runtime& runtime) {
  for (const char* name : {"first", "second", "third"}) runtime.spawn(a(), name);
  runtime.spawn(clerk(), "clerk");
  runtime.spawn(quiet(), "quiet");
}

void ready() {
  for (const char* name : {"first", "second", "third"})
    std::printf("LEAF %s sleep %d %d %d\n", name, g_a, g_b, g_c);
  std::printf("LEAF clerk channel-recv %d\nLEAF quiet - %d\n", g_clerk, g_quiet);
  std::printf("READY %d\n", getpid());
  std::fflush(stdout);
}

void wait_for_end_of_stdin() {
  fcntl(STDIN_FILENO, F_SETFL, 0);
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) continue;
}

// Its first event gives the child a segment of its own.
void fork_child() {
  int pipes[2];
  if (pipe(pipes) != 0) return;
  const pid_t pid = fork();
  if (pid == 0) {
    asynctrace_task_woken(nullptr);
    char byte = 'x';
    if (write(pipes[1], &byte, 1) != 1) _exit(1);
    wait_for_end_of_stdin();
    _exit(0);
  }
  char byte;
  if (read(pipes[0], &byte, 1) == 1) std::printf("CHILD %d\n", pid);
}

// Once all have come to where they stay.
Task<> tell_when_ready(bool forks, bool blocks) {
  while (g_c == 0 || g_clerk == 0 || g_quiet == 0) co_await Sleep(1ms);
  co_await Sleep(5ms);
  if (forks) fork_child();
  ready();
  if (blocks) wait_for_end_of_stdin();
}

}  // namespace shop

int main(int argc, char** argv) {
  using namespace shop;
  if (argc < 2) return 2;
  const bool blocked = argc > 2 && std::strcmp(argv[2], "blocked") == 0;
  const bool forked = std::strcmp(argv[1], "forked") == 0;
  std::atomic<bool> over{false};
  fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
  if (forked || std::strcmp(argv[1], "single") == 0) {
    native::SingleThread runtime;
    spawn_all(runtime);
    runtime.spawn(tell_when_ready(forked, blocked), "starter");
    runtime.spawn(end_with_stdin(over), "stdin");
    while (!over) runtime.turn(1h);
  } else {
    native::MultiThread runtime(2);
    spawn_all(runtime);
    runtime.spawn(tell_when_ready(forked, blocked), "starter");
    runtime.spawn(end_with_stdin(over), "stdin");
    over.wait(false);
  }
  return 0;
}
